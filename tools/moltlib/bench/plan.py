# SPDX-License-Identifier: Apache-2.0
"""Which cases there are, and the bounds that their figures are held against."""

import os
from dataclasses import dataclass
from functools import partial

from moltlib import options, series
from moltlib.bench import host, peers, runs
from moltlib.bench.figure import BYTES, RATIO, Figure

UPDATES = 100
SERIES_UPDATES = 10
VCPUS = (1, 2, 4, 8)

BLACKOUT_LINUX_1 = 200_000
BLACKOUT_LINUX_4 = 400_000
BLACKOUT_SMALL = 1_000_000
RAM_RATIO = 1.1  # blackout with the most RAM to blackout with the least
BOOT = 20_000_000
LINUX_RATIO = 1.5  # Linux under molt to Linux alone
IMAGE = 256 << 10

# In the order in which they are shown.
GROUPS = {
    "blackout": f"Blackout of an update and its phases, {UPDATES} updates",
    "ram": "With more RAM, the same guest of 4 MiB",
    "extents": "With more extents, all of 4 KiB",
    "vcpus": "With more vCPUs",
    "boot": "Boot",
    "linux": "Linux's boot",
    "exits": "Exit from a guest and back",
    "native": "Owners of frames found again, on this machine",
    "image": "Size of an image",
}


def images(_workdir):
    paths = {"molt.elf": options.MOLT, "molt-next.elf": options.MOLT_NEXT}
    return [Figure("image", name, BYTES, os.path.getsize(path)) for name, path in paths.items()]


def cases():
    """{name: function(work directory) that gives Figures}, the longest first."""
    found = {
        "linux-4-vcpus": partial(runs.linux_updates, vcpus=4, cpus=2, count=UPDATES),
        "kexec-checked": partial(peers.kexec, name="segments hashed", switches="-c"),
        "kexec": partial(peers.kexec, name="not hashed", switches="-c --no-checks"),
        "linux-1-vcpu": partial(runs.linux_updates, vcpus=1, cpus=1, count=UPDATES),
        "small-5": partial(runs.five, count=UPDATES),
        "small-1": partial(runs.control, count=UPDATES),
    }
    for vcpus in reversed(VCPUS):
        found[f"vcpus-{vcpus}"] = partial(runs.by_vcpus, vcpus=vcpus, count=SERIES_UPDATES)
    for pages, mem, region in reversed(series.EXTENTS):
        found[f"extents-{pages}"] = partial(runs.by_extents, pages=pages, mem=mem, region=region,
                                            count=series.UPDATES)
    found["nested"] = peers.nested
    found |= {"linux-boot": runs.linux_boot, "linux-alone": peers.linux, "xen": peers.xen}
    for gib in series.RAM_GIB:
        found[f"ram-{gib}"] = partial(runs.by_ram, gib=gib, count=SERIES_UPDATES)
    found |= {"exits": partial(runs.exits, cpus=1), "ipi": partial(runs.exits, cpus=2),
              "frames": host.frames, "images": images}
    return found


def _named(figures, group, name):
    return next((f for f in figures if (f.group, f.name) == (group, name)), None)


def derived(figures):
    """Figures that follow from others, as far as those are there."""
    alone = _named(figures, "linux", "alone, GRUB to /init")
    molt = _named(figures, "linux", "under molt, GRUB to /init")
    if alone and molt:
        yield Figure("linux", "under molt to alone", RATIO, round(molt.value / alone.value, 3),
                     case="linux-boot --only linux-alone")
    for group, least, name in (
        ("ram", "blackout", "blackout, most RAM to least"),
        ("vcpus", "blackout", "blackout, one more vCPU"),
        ("extents", "blackout", "blackout, one more extent"),
    ):
        line = sorted((f for f in figures if f.group == group and f.name.endswith(least)),
                      key=lambda f: f.x)
        if len(line) < 2:
            continue
        first, last = line[0], line[-1]
        case = f"{first.case} --only {last.case}"
        if group == "ram":
            ratio = round(last.value / first.value, 3)
            yield Figure(group, name, RATIO, ratio, case=case)
        else:
            slope = round((last.value - first.value) / (last.x - first.x), 1)
            yield Figure(group, name, first.unit, slope, case=case)


@dataclass
class Bound:
    group: str
    name: str
    below: float

    def found(self, figures):
        """The figure that it holds for, or None."""
        return _named(figures, self.group, self.name)


BOUNDS = (
    Bound("blackout", "Linux, 1 vCPU on 1 CPU: blackout", BLACKOUT_LINUX_1),
    Bound("blackout", "Linux, 4 vCPU on 2 CPU: blackout", BLACKOUT_LINUX_4),
    Bound("blackout", "1 small guest: blackout", BLACKOUT_SMALL),
    Bound("blackout", "5 small guests: blackout", BLACKOUT_SMALL),
    Bound("ram", "blackout, most RAM to least", RAM_RATIO),
    Bound("boot", "molt, GRUB to first guest", BOOT),
    Bound("linux", "under molt to alone", LINUX_RATIO),
    Bound("image", "molt.elf", IMAGE),
    Bound("image", "molt-next.elf", IMAGE),
)


def bounds(figures):
    """For each bound that has a figure: a dictionary with name, value, bound, unit, met."""
    for bound in BOUNDS:
        figure = bound.found(figures)
        if figure:
            yield {"group": bound.group, "name": bound.name, "value": figure.highest,
                   "below": bound.below, "unit": figure.unit, "met": figure.highest < bound.below}
