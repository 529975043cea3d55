# SPDX-License-Identifier: Apache-2.0
"""A figure: what was measured, in which unit, and by which case."""

import math
import statistics
from dataclasses import asdict, dataclass

from moltlib import emulator

# Bochs's TSC counts instructions and idle time; QEMU's with -icount as well. So a figure does not
# depend on the load of the machine that runs the emulator.
BOCHS = f"instructions, Bochs {emulator.BOCHS_CPU}"
BOCHS_KVM = "instructions, Bochs broadwell_ult"  # tests/nested/
TCG = "instructions, QEMU TCG max"
BYTES = "bytes"
EXITS = "VM exits, Bochs " + emulator.BOCHS_CPU
RATIO = "ratio"


class Failed(Exception):
    """A case went wrong; the text says how."""


@dataclass
class Figure:
    group: str  # key of plan.GROUPS
    name: str
    unit: str
    value: float  # of many, the median
    p99: float = None
    min: float = None
    max: float = None
    count: int = 1
    x: float = None  # where it stands in a series
    case: str = ""  # that measured it: `tools/bench --only CASE` does so again

    @property
    def highest(self):
        return self.value if self.max is None else self.max

    def to_json(self):
        found = {key: value for key, value in asdict(self).items() if value is not None}
        return found | {"repeat": f"tools/bench --only {self.case}"}


def percentile(values, percent):
    """The smallest of the values that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def spread(group, name, unit, values, x=None):
    """A Figure of many values."""
    return Figure(
        group, name, unit, round(statistics.median(values)), p99=percentile(values, 99),
        min=min(values), max=max(values), count=len(values), x=x,
    )
