# SPDX-License-Identifier: Apache-2.0
"""Command line of tools/molt, and what the options mean together."""

import argparse
import os
import re
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build")
MOLT = os.path.join(BUILD, "molt.elf")
MOLT_NEXT = os.path.join(BUILD, "molt-next.elf")

# What runs if no --guest is given: Linux as control guest beside a worker.
LINUX_KERNEL = os.path.join(BUILD, "linux", "vmlinuz")
LINUX_INITRAMFS = os.path.join(BUILD, "linux", "control.cpio")
# Without messages, and without what costs an emulator most of a boot's time.
LINUX_CMDLINE = "console=ttyS0 quiet nokaslr mitigations=off cryptomgr.notests pci=off panic=1"
LINUX_APPEND = "end=control focus=control"
# With --updates, or without a Linux: a control guest that makes them by itself.
DEMO_GUESTS = (
    "guests/control.elf,name=control,mem=32M,control",
    "guests/worker.elf,name=worker,mem=64M",
    "guests/hello.elf,name=hello,mem=20M",
)

DEFAULT_MEM = "512M"
DEFAULT_INTERVAL_MS = 100
DEFAULT_TIMEOUT = 300

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,31}")
_SIZE = re.compile(r"(\d+)([KMGT]?)", re.IGNORECASE)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


class UsageError(Exception):
    """The user asked for something that cannot be done; the text says what."""


@dataclass
class Guest:
    path: str
    name: str = ""
    mem: str = "64M"
    vcpus: int = 1
    control: bool = False
    modules: list = field(default_factory=list)
    cmdline: str = ""


def size_bytes(text):
    """Bytes in "512M", "2G", "65536"."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise UsageError(f"{text!r} is not a size: use 512M, 2G, ...")
    return int(match.group(1)) << _UNITS[match.group(2).upper()]


def parse_guest(text):
    """FILE[,name=N][,mem=64M][,vcpus=N][,module=FILE]...[,control][,cmdline=REST]"""
    path, _, rest = text.partition(",")
    if not path:
        raise UsageError(f"--guest {text!r}: the file is missing")
    guest = Guest(path, name=os.path.splitext(os.path.basename(path))[0])
    while rest:
        if rest.startswith("cmdline="):
            guest.cmdline = rest[len("cmdline=") :]
            break
        option, _, rest = rest.partition(",")
        key, equals, value = option.partition("=")
        if option == "control":
            guest.control = True
        elif key in ("name", "mem", "vcpus", "module") and value:
            _guest_option(guest, text, key, value)
        else:
            raise UsageError(f"--guest {text!r}: {option!r} is not understood")
    if not _NAME.fullmatch(guest.name):
        raise UsageError(f"--guest {text!r}: a name has up to 31 letters, digits, _ . -")
    return guest


def _guest_option(guest, text, key, value):
    if key == "name":
        guest.name = value
    elif key == "mem":
        size_bytes(value)
        guest.mem = value
    elif key == "module":
        guest.modules.append(value)
    elif value.isdecimal() and int(value) > 0:
        guest.vcpus = int(value)
    else:
        raise UsageError(f"--guest {text!r}: vcpus={value!r} is not a number of CPUs")


def demo_guests():
    return [parse_guest(os.path.join(BUILD, text)) for text in DEMO_GUESTS]


def have_linux():
    """`make linux` has been here."""
    return os.path.isfile(LINUX_KERNEL) and os.path.isfile(LINUX_INITRAMFS)


def linux_guests():
    control = Guest(
        LINUX_KERNEL, "control", "160M", control=True, modules=[LINUX_INITRAMFS],
        cmdline=LINUX_CMDLINE,
    )
    worker = os.path.join(BUILD, "guests/worker.elf,name=worker,mem=64M,cmdline=tick=10000")
    return [control, parse_guest(worker)]


@dataclass
class Boot:
    """What goes into a boot image."""

    molt: str = MOLT
    append: str = ""
    guests: list = field(default_factory=list)
    images: list = field(default_factory=list)
    append_again: str = None  # instead of `append`, once the machine has been reset
    broken: str = None  # FROM-TO: memory that the boot loader shall not use

    def files(self):
        yield self.molt
        for guest in self.guests:
            yield guest.path
            yield from guest.modules
        yield from self.images


def boot_from(args):
    """A Boot from parsed arguments: defaults filled in, update options spread, files checked."""
    append = args.append or ""
    if args.no_guests:
        guests = []
    elif args.guest:
        guests = [parse_guest(text) for text in args.guest]
    elif args.updates is None and have_linux():
        guests = linux_guests()
        append = f"{LINUX_APPEND} {append}".rstrip()
    else:
        guests = demo_guests()
    names = [guest.name for guest in guests]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two guests are called {name!r}: give them names with ,name=")
    images = list(args.image or (MOLT, MOLT_NEXT))
    boot = Boot(args.molt, append, guests, images, args.append_again, args.broken_memory)
    if getattr(args, "timeline", None):
        add_words(boot, ["timeline"])
    if args.updates is not None:
        add_updates(boot, args.updates, args.interval)
    check_files(boot)
    return boot


def add_words(boot, words):
    """Puts words in front of molt's others."""
    boot.append = " ".join(words + boot.append.split())
    if boot.append_again is not None:
        boot.append_again = " ".join(words + boot.append_again.split())


def add_updates(boot, count, interval):
    """Asks for `count` updates: the control domain makes them, or molt itself where none runs."""
    add_words(boot, ["end=control", f"autoupdate={count},{interval}"])
    for guest in boot.guests:
        if guest.control:
            words = [f"updates={count}", f"interval={interval}"]
            guest.cmdline = " ".join(words + guest.cmdline.split())


def check_files(boot):
    missing = [path for path in boot.files() if not os.path.isfile(path)]
    if not missing:
        return
    text = "not found: " + ", ".join(os.path.relpath(path) for path in dict.fromkeys(missing))
    if any(os.path.abspath(path).startswith(BUILD + os.sep) for path in missing):
        text += "\n`make` builds what belongs into build/"
    raise UsageError(text)


def _count(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return int(text)


def _positive(text):
    value = _count(text)
    if not value:
        raise argparse.ArgumentTypeError("0 is too few")
    return value


def parser():
    top = argparse.ArgumentParser(
        prog="molt", description="Build boot images with molt and guests, run and debug them."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run",
        help="boot molt with guests on an emulator, show its console",
        description="Boots molt with guests and shows its serial console. Exit code 0: each update "
        "succeeded, every guest that exited did so with 0, and molt ended in good order. "
        "1: something failed, 2: wrong usage, 124: time limit, 130: left with Ctrl-].",
    )
    _boot_options(run)
    _machine_options(run)
    run.add_argument(
        "--timeout", type=float, metavar="S",
        help=f"time limit in seconds, 0: none (default: 0 on a terminal, else {DEFAULT_TIMEOUT})",
    )
    run.add_argument("--serial", metavar="FILE", help="write the console to FILE as well")
    run.add_argument("--timeline", metavar="FILE.svg",
                     help="give molt the word timeline, and draw the run's updates to FILE.svg")
    run.add_argument("--keep", metavar="DIR", help="keep the temporary files in DIR")
    run.add_argument("--boots", type=_positive, metavar="N",
                     help="the machine resets itself: it must come up N times")
    run.add_argument("--reset-at", action="append", default=[], metavar="TEXT",
                     help="press the reset button when a line with TEXT appears (QEMU); repeat for "
                     "more, in this order")
    run.add_argument("--reset-delay", type=_count, default=0, metavar="MS",
                     help="so long after that line (%(default)s)")

    iso = commands.add_parser("iso", help="write a boot image only")
    _boot_options(iso)
    iso.add_argument("--firmware", choices=("both", "bios", "uefi"), default="both")
    iso.add_argument("-o", "--output", metavar="FILE", required=True)

    debug = commands.add_parser(
        "debug",
        help="the same under a debugger",
        description="--engine tcg (default): QEMU stopped at reset, gdb attached. --engine bochs: "
        "Bochs's own debugger. Symbols of molt and of the images to update to are loaded (from "
        "NAME.debug beside NAME.elf if there is one); they are right as soon as molt has turned "
        "paging on.",
    )
    _boot_options(debug)
    _machine_options(debug)
    debug.add_argument("--serial", metavar="FILE", help="write the console there"
                       " (default: build/debug-console.log)")
    debug.add_argument("--gdb", default="gdb", metavar="PROGRAM", help=argparse.SUPPRESS)
    debug.add_argument("--gdb-arg", action="append", default=[], metavar="ARG",
                       help="pass ARG on to gdb, or a command to Bochs's debugger")
    debug.add_argument("--keep", metavar="DIR", help="keep the temporary files in DIR")

    timeline = commands.add_parser(
        "timeline",
        help="draw the updates of a run",
        description="Draws the updates of a console log, one panel each: phases on both images, "
        "what each CPU did, each vCPU's blackout. The log is of a molt with the word timeline on "
        "its command line (tools/molt run --append timeline --serial LOG); without the word there "
        "are only phases. Exit code 2: nothing can be drawn.",
    )
    timeline.add_argument("log", metavar="LOG")
    timeline.add_argument("-o", "--output", metavar="FILE.svg", required=True)
    timeline.add_argument("--update", type=_positive, action="append", default=[], metavar="N",
                          help="only the update with this number; repeat for more")
    timeline.add_argument("--unit", choices=("auto", "us", "cycles"), default="auto",
                          help="of lengths and axis: time, where the log tells the TSC's frequency "
                          "(auto), always time, or TSC cycles")

    commands.add_parser("engines", help="what each engine can do here, and what auto picks")
    return top


def _boot_options(command):
    add = command.add_argument
    add("--molt", default=MOLT, metavar="FILE", help="the hypervisor to boot (build/molt.elf)")
    add(
        "--guest", action="append", default=[],
        metavar="FILE[,name=N][,mem=64M][,vcpus=N][,module=F]...[,control][,cmdline=REST]",
        help="a guest; repeat for more. cmdline takes all the rest, commas too. Without --guest "
        "Linux (`make linux`) runs as control guest beside a worker; with --updates, or without a "
        "Linux, control, worker and hello of the tests",
    )
    add("--no-guests", action="store_true", help="no guests at all")
    add("--image", action="append", default=[], metavar="FILE",
        help="an image to update to; repeat for more (default: both molts in build/)")
    add("--append", metavar="TEXT", help="words to add to molt's command line")
    add("--broken-memory", metavar="FROM-TO",
        help="GRUB leaves this memory alone (on UEFI) and reports it as broken: 1M-2M")
    add("--append-again", metavar="TEXT",
        help="instead of these, from the first reset of the machine on")
    add("--updates", type=_count, metavar="N",
        help="let the control guest make N updates, then end; exactly N must succeed")
    add("--interval", type=_count, default=DEFAULT_INTERVAL_MS, metavar="MS",
        help="between updates, milliseconds of guest time (%(default)s)")


def _machine_options(command):
    add = command.add_argument
    add("--engine", choices=("auto", "kvm", "tcg", "bochs"), default="auto")
    add("--firmware", choices=("bios", "uefi"), default="bios")
    add("--cpus", type=_positive, default=1, metavar="N")
    add("--mem", default=DEFAULT_MEM, metavar="512M")
    add("--iso", metavar="FILE", help="boot this image instead of building one")
    add("--cpu-model", metavar="MODEL", help="the engine's name of the CPU to emulate")
    add("--no-grub", action="store_true",
        help="Bochs: a boot sector loads what GRUB would, in a tenth of the time")
    add("--no-vmx", action="store_true", help="a CPU without virtualization")
    add("--realtime", action="store_true",
        help="Bochs: idle time passes as on a clock (otherwise as fast as possible)")
    add("--qemu-arg", action="append", default=[], metavar="ARG", help="pass ARG on to QEMU")
    add("--bochsrc", action="append", default=[], metavar="LINE",
        help="add LINE to Bochs's configuration")
