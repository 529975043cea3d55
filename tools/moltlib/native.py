# SPDX-License-Identifier: Apache-2.0
"""Linux on Bochs without molt: what a guest's boot is held against."""

import os
import re
import subprocess

from moltlib import emulator, iso
from moltlib.detect import BOCHS

# Where GRUB puts a relocatable bzImage: the preferred address of Debian's kernels.
ENTRY = 0x1000000
COMMANDS = [f"pb {ENTRY:#x}", "c", "ptime", "del 1", "c"]

_TIME = re.compile(r"^ptime: (\d+)", re.MULTILINE)


def boot(workdir, kernel, initramfs, cmdline, mem_bytes, limit):
    """(TSC at the kernel's first instruction, console) of a run that Linux ends by powering off.

    The TSC of Bochs counts from the machine's start; its debugger stops at the kernel's entry and
    tells the time. OSError or subprocess.SubprocessError when there is no such run.
    """
    image = os.path.join(workdir, "native.iso")
    iso.build_linux(kernel, initramfs, cmdline, image, workdir)
    machine = emulator.Machine(engine="bochs", iso=image, mem_bytes=mem_bytes)
    serial = os.path.join(workdir, "native.log")
    config = os.path.join(workdir, "bochsrc")
    with open(config, "w", encoding="utf-8") as file:
        com1 = f"mode=file, dev={serial}"
        file.write(emulator.bochs_config(machine, workdir, com1, 'rfb, options="timeout=0"'))
    commands = os.path.join(workdir, "bochs.commands")
    with open(commands, "w", encoding="ascii") as file:
        file.write("\n".join(COMMANDS) + "\n")
    done = subprocess.run(
        [BOCHS, "-q", "-f", config, "-rc", commands], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit, check=False,
    )
    found = _TIME.search(done.stdout.decode("utf-8", "replace"))
    if not found:
        raise OSError("the kernel was not entered")
    with open(serial, encoding="utf-8", errors="replace") as file:
        return int(found.group(1)), file.read()
