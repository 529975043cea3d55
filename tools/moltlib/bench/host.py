# SPDX-License-Identifier: Apache-2.0
"""What it costs to find the owners of frames again, on the processor of this machine."""

import os
import re
import subprocess

from moltlib.bench.figure import Failed, Figure
from moltlib.options import BUILD

PROGRAM = os.path.join(BUILD, "native", "bench_frames")

_LINE = re.compile(r"(rebuild|bytes) (\S+) (.*)")
_NAMES = {"2m": "2 MiB extents", "4k": "4 KiB extents, in order",
          "4k-scattered": "4 KiB extents, scattered"}
_BYTES = {"memory": "the memory: per frame", "records": "the records: per extent"}


def cpu():
    """The processor's name, as the kernel has it."""
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "unknown processor"


def figures_of(text, unit):
    """Figures from the program's output."""
    for kind, name, rest in _LINE.findall(text):
        found = {key: int(value) for key, value in (word.split("=") for word in rest.split())}
        if kind == "rebuild":
            both = found["check_ns"] + found["apply_ns"]
            for what in ("frame", "extent"):
                value = round(both / found[what + "s"], 3)
                yield Figure("native", f"rebuild, {_NAMES[name]}: per {what}", unit, value)
        else:
            for what in ("memset", "memcpy"):
                value = round(found[what + "_ns"] / found["count"], 3)
                yield Figure("native", f"{what} of {_BYTES[name]}", unit, value)


def frames(_workdir):
    done = subprocess.run([PROGRAM], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise Failed(f"bench_frames: {done.stderr.strip()}")
    return list(figures_of(done.stdout, f"ns, {cpu()}"))
