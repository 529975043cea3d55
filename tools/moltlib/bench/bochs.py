# SPDX-License-Identifier: Apache-2.0
"""A machine on Bochs without molt, for what molt is held against."""

import os
import re
import subprocess
import time

from moltlib import emulator, iso
from moltlib.bench.figure import Failed
from moltlib.detect import BOCHS

_TIME = re.compile(r"^ptime: (\d+)", re.MULTILINE)
_POLL = 0.2  # seconds


def run(workdir, loader, commands, files, mem_bytes, entry, until, limit):
    """(TSC when GRUB hands over, match of `until` in the console).

    loader, commands, files: as iso.build_plain() has them. The TSC of Bochs counts from the start
    of the machine; its debugger stops at `entry`, the first instruction that GRUB jumps to, and
    tells the TSC.
    Failed when the console does not show `until` within `limit` seconds.
    """
    image = os.path.join(workdir, "plain.iso")
    iso.build_plain(loader, commands, files, image, workdir)
    machine = emulator.Machine(engine="bochs", iso=image, mem_bytes=mem_bytes)
    serial = os.path.join(workdir, "console")
    output = os.path.join(workdir, "debugger")
    config = os.path.join(workdir, "bochsrc")
    with open(config, "w", encoding="utf-8") as file:
        com1 = f"mode=file, dev={serial}"
        file.write(emulator.bochs_config(machine, workdir, com1, 'rfb, options="timeout=0"'))
    script = os.path.join(workdir, "bochs.commands")
    with open(script, "w", encoding="ascii") as file:
        file.write(f"pb {entry:#x}\nc\nptime\ndel 1\nc\n")
    with open(output, "wb") as file:
        child = emulator.spawn([BOCHS, "-q", "-f", config, "-rc", script],
                               stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
    try:
        found = _watch(child, serial, until, limit)
    finally:
        child.kill()
        child.wait()
    entered = _TIME.search(_read(output))
    if not entered:
        raise Failed("GRUB does not hand over")
    return int(entered.group(1)), found


def _watch(child, serial, until, limit):
    """Waits until the console shows the pattern; its match."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        ended = child.poll() is not None
        found = re.search(until, _read(serial), re.MULTILINE)
        if found:
            return found
        if ended:
            break
        time.sleep(_POLL)
    last = (_read(serial).strip().splitlines() or ["nothing"])[-1]
    raise Failed(f"the console does not show {until!r}; its last line: {last}")


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""
