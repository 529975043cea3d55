# SPDX-License-Identifier: Apache-2.0
"""How the pause depends on memory: the parameters of runs that tests and the benchmark share.

On QEMU's TCG with one instruction a nanosecond of the virtual clock, so that the TSC counts
instructions and figures repeat; idle time passes at once.
"""

import os

from moltlib.options import BUILD

ICOUNT = ("-icount", "shift=0,sleep=off")
UPDATES = 4
INTERVAL_MS = 300  # long enough for all work after an update, scrubbing included

# RAM of the host, GiB, with the same guests.
RAM_GIB = (1, 4, 16, 64, 256, 1000)
# Extents of 4 KiB of one guest: (how many, RAM of the host, liveupdate=).
EXTENTS = (
    (1 << 10, "1G", "64M"),
    (10_000, "1G", "64M"),
    (100_000, "2G", "256M"),
    (1 << 20, "6G", "1G"),
)


def guest(name, *words):
    return ",".join((os.path.join(BUILD, "guests", f"{name}.elf"), *words))


CONTROL = guest("control", "name=control", "mem=4M", "control")


def tcg(mem, *words, guests=(CONTROL,), updates=UPDATES):
    """Options of `tools/molt run`."""
    options = ["--engine", "tcg", "--mem", mem, "--updates", str(updates)]
    options += ["--interval", str(INTERVAL_MS), *(f"--qemu-arg={word}" for word in ICOUNT)]
    for value in guests:
        options += ["--guest", value]
    return options + (["--append", " ".join(words)] if words else [])


def ram(gib, updates=UPDATES):
    """So much RAM, little of it in use."""
    return tcg(f"{gib}G", updates=updates)


def owner(gib, updates=UPDATES, *words):
    """So much RAM, most of it a guest's."""
    big = guest("hello", "name=big", f"mem={gib - max(1, gib // 50)}G")
    return tcg(f"{gib}G", *words, guests=(CONTROL, big), updates=updates)


def extents(pages, mem, region, updates=UPDATES):
    """A guest of so many extents, and another one of 1024."""
    many = guest("hello", "name=many", f"mem={pages * 4}K")
    return tcg(mem, "extent_order=0", f"liveupdate={region}", guests=(CONTROL, many),
               updates=updates)
