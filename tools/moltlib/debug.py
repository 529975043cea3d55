# SPDX-License-Identifier: Apache-2.0
"""molt under a debugger: QEMU with gdb, or Bochs's own."""

import os
import subprocess
import time

from moltlib import emulator, options
from moltlib.detect import BOCHS
from moltlib.options import UsageError


def with_symbols(path):
    """The file that holds the symbols of an image: NAME.debug beside a stripped NAME.elf."""
    unstripped = os.path.splitext(path)[0] + ".debug"
    return os.path.abspath(unstripped if os.path.isfile(unstripped) else path)


def symbol_file(elf, output):
    """Writes what Bochs's `ldsym global` reads: an address in hex and a name per line."""
    try:
        done = subprocess.run(["nm", "-n", elf], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise UsageError("nm is missing: run tools/deps") from None
    except subprocess.CalledProcessError as error:
        raise UsageError(f"nm {elf}: {error.stderr.strip()}") from None
    count = 0
    with open(output, "w", encoding="ascii", errors="replace") as file:
        for line in done.stdout.splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in "tTdDbBrRwW":
                file.write(f"{words[0]} {words[2]}\n")
                count += 1
    return count


def run(args, machine, workdir, say):
    # Images are linked at addresses of their own, so all symbols can be there at once.
    images = args.image or (options.MOLT, options.MOLT_NEXT)
    images = list(dict.fromkeys(with_symbols(path) for path in (args.molt, *images)))
    serial = args.serial
    if not serial:
        os.makedirs(options.BUILD, exist_ok=True)
        serial = os.path.join(options.BUILD, "debug-console.log")
    serial = os.path.abspath(serial)
    say(f"molt's console goes to {os.path.relpath(serial)}")
    if machine.engine == "bochs":
        return _bochs(args, machine, workdir, images, serial)
    return _gdb(args, machine, workdir, images, serial)


def _gdb(args, machine, workdir, images, serial):
    port = os.path.join(workdir, "gdb")
    console = ["-chardev", f"file,id=com1,path={serial.replace(',', ',,')}"]
    console += ["-serial", "chardev:com1", "-S"]
    console += ["-gdb", f"unix:path={port},server=on,wait=off"]
    command = emulator.qemu_command(machine, workdir, console)
    qemu = emulator.spawn(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(100):
            if os.path.exists(port) or qemu.poll() is not None:
                break
            time.sleep(0.1)
        gdb = [args.gdb, "-q", "-ex", "set confirm off", "-ex", "set pagination off"]
        gdb += ["-ex", "set architecture i386:x86-64", "-ex", f"file {images[0]}"]
        for image in images[1:]:
            gdb += ["-ex", f"add-symbol-file {image}"]
        gdb += ["-ex", f"target remote {port}", *args.gdb_arg]
        try:
            return _foreground(gdb)
        except FileNotFoundError:
            raise UsageError(f"{args.gdb} is missing: run tools/deps") from None
    finally:
        qemu.kill()
        qemu.wait()


def _bochs(args, machine, workdir, images, serial):
    load = []
    for index, image in enumerate(images):
        symbols = os.path.join(workdir, f"symbols{index}")
        symbol_file(image, symbols)
        load.append(f'ldsym global "{symbols}"')
    config = os.path.join(workdir, "bochsrc")
    with open(config, "w", encoding="utf-8") as file:
        com1 = f'mode=file, dev="{serial}"'
        file.write(emulator.bochs_config(machine, workdir, com1, 'rfb, options="timeout=0"'))
    commands = os.path.join(workdir, "bochs.commands")
    with open(commands, "w", encoding="utf-8") as file:
        file.write("\n".join([*load, *args.gdb_arg]) + "\n")
    return _foreground([BOCHS, "-q", "-f", config, "-rc", commands])


def _foreground(command):
    """Runs the debugger in this terminal. Ctrl-C is the debugger's, not ours."""
    child = emulator.spawn(command)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            pass
        except BaseException:
            child.kill()
            child.wait()
            raise
