# SPDX-License-Identifier: Apache-2.0
"""The points of fault injection, what a fault there comes to, lists for tests/guests/faults.c.

Outcomes, as molt is designed (docs/FAILURES.md):

    back     the new image ran and failed; the old one goes on
    pause    the old image itself failed in the pause, and goes on
    ok       the update works all the same
    refused  the update does not come to a pause
    lost     the fault is one of a running molt, or before anything could catch it: the machine ends
"""

BACK, PAUSE, LOST = "back", "pause", "lost"

# In the order in which they are passed. The second word of a value: only with several CPUs.
POINTS = {
    # the image that is replaced, guests running
    "old.load.before": LOST,
    "old.prepare.before": LOST,
    "old.prepare.after": LOST,
    "old.load.after": LOST,
    "old.request": LOST,
    # guests stand
    "old.stop.before": LOST,
    "old.other.stop": LOST,
    "old.pause.before": PAUSE,
    "old.save.before": PAUSE,
    "old.save.host": PAUSE,
    "old.save.domain": PAUSE,
    "old.save.vcpu": PAUSE,
    "old.save.console": PAUSE,
    "old.check.before": PAUSE,
    "old.breadcrumb.before": PAUSE,
    "old.pause.after": PAUSE,
    "old.off.before": PAUSE,
    "old.offer.before": PAUSE,
    "old.park.before": PAUSE,
    "old.other.park": LOST,  # another CPU's own fault
    "old.jump": PAUSE,
    # between the images
    "jump.relocate": BACK,
    "jump.leave": BACK,
    "jump.enter": BACK,
    # the image that comes
    "new.entry32": BACK,
    "new.entry64": BACK,
    "new.takeover.before": BACK,
    "new.traps.before": BACK,
    "new.traps.after": BACK,
    "new.cpu.before": BACK,
    "new.cpu.after": BACK,
    "new.information.before": BACK,
    "new.place.before": BACK,
    "new.place.after": BACK,
    "new.init.before": BACK,
    "new.init.after": BACK,
    "new.memory.before": BACK,
    "new.paging.before": BACK,
    "new.paging.after": BACK,
    "new.apic.before": BACK,
    "new.apic.after": BACK,
    "new.map.before": BACK,
    "new.map.after": BACK,
    "new.open.after": BACK,
    "new.check.after": BACK,
    "new.host.after": BACK,
    "new.machine.before": BACK,
    "new.hvm.before": BACK,
    "new.hvm.after": BACK,
    "new.sched.after": BACK,
    "new.cpus.before": BACK,
    "new.cpus.after": BACK,
    "new.record.module": BACK,
    "new.record.domain": BACK,
    "new.record.extents": BACK,
    "new.record.domain_state": BACK,
    "new.record.vuart": BACK,
    "new.record.clock": BACK,
    "new.record.ioapic": BACK,
    "new.record.vcpu": BACK,
    "new.record.output": BACK,
    "new.record.edit": BACK,
    "new.record.console": BACK,
    "new.commit1.before": BACK,
    "new.takeover.after": BACK,
    # commit 1: from here on a fault is one of a running molt
    "new.commit1.after": LOST,
    "new.release.after": LOST,
    "new.other.before": LOST,
    "new.other.after": LOST,
    "new.loop.before": LOST,
    "new.entry.first": LOST,
    "new.commit2.before": LOST,
    "new.commit2.after": LOST,
    "new.finish.heap": LOST,
    "new.finish.stream": LOST,
    "new.finish.scrub": LOST,
    "new.finish.report": LOST,
    # the old image, when it is back
    "old.back.before": LOST,
    "old.back.after": LOST,
}

ASSEMBLY = {"jump.relocate", "jump.leave", "jump.enter", "new.entry32", "new.entry64"}
# Only passed when somebody types at molt's console in that moment.
RARE = {"new.record.edit"}
SEVERAL_CPUS = {"old.other.stop", "old.other.park", "new.other.before", "new.other.after"}

EXCEPTIONS = ("ud", "pf", "gp", "de", "stack")
HANGS = ("hang", "halt")
KINDS = ("panic", *EXCEPTIONS, *HANGS)
ASSEMBLY_KINDS = ("ud", *HANGS)


def kinds_at(point):
    if point in ASSEMBLY:
        return ASSEMBLY_KINDS
    order = list(POINTS)
    if order.index("new.entry64") < order.index(point) < order.index("new.paging.after"):
        # No guard page yet below the stack: what overflows there spoils whatever comes.
        return tuple(kind for kind in KINDS if kind != "stack")
    return KINDS


def survived(cpus):
    """Points whose faults the guests survive."""
    return [point for point, outcome in POINTS.items()
            if outcome != LOST and point not in RARE and (cpus > 1 or point not in SEVERAL_CPUS)]


def line(point, kind, n=1, seed=0, expect=None, repeat=1):
    return f"{point} {kind} {n} {seed} {expect or POINTS[point]} {repeat}"


def every_kind(cpus):
    return [line(point, kind) for point in survived(cpus) for kind in kinds_at(point)]


def some_kinds(cpus):
    """At each point one of the kinds in turn, not the same with 1 and 2 CPUs."""
    lines = []
    for turn, point in enumerate(survived(cpus), 3 * cpus):
        kinds = kinds_at(point)
        lines.append(line(point, kinds[turn % len(kinds)]))
    return lines


def one_kind(cpus):
    """The same without hangs; panics, where some_kinds() has hangs."""
    lines = []
    for turn, point in enumerate(survived(cpus), 3 * cpus):
        kinds = kinds_at(point)
        kind = kinds[(turn + 4) % len(kinds)]
        lines.append(line(point, kinds[0] if kind in HANGS else kind))
    return lines


# Before `settle`, the way to the next image is long: the first update's deadline is far.
SLOW = [
    line("new.sched.after", "slow", 1, expect="ok"),  # some time, but not too late
    line("new.sched.after", "slow", 40, expect="back"),
    line("old.save.vcpu", "slow", 1, expect="ok"),
    line("old.save.vcpu", "slow", 40, expect="pause|back"),
]

RELOCATION = [line("old.jump", kind, expect="back")
              for kind in ("list-tag", "list-write", "list-circle")]


def flips(seeds, repeat):
    """One bit between save and adoption, `repeat` seeds each from `seeds` on."""
    return [
        line("old.jump", "flip-stream", 1, seeds, "back", repeat),
        line("old.jump", "flip-list", 1, seeds, "back", repeat),
        line("new.init.before", "flip-crumb", 1, seeds, "back", repeat),
        line("old.check.before", "flip-stream", 1, seeds, "refused", repeat),  # its own check
        line("old.jump", "flip-back", 1, seeds, "ok", repeat),  # one copy of two
        line("old.jump", "flip-back", 2, seeds, "ok", repeat),
    ]


def endurance(updates):
    """Good updates in blocks of 20; between them a fault, and a good update after it."""
    lines = []
    points = survived(1)
    for turn in range(updates // 20):
        lines.append("- good 20 0")
        lines.append(line(points[turn % len(points)], kinds_at(points[turn % len(points)])[0]))
    return lines


def allocations(step):
    """Each allocation fails once, or every step-th one. What is lost of a domain's output for
    readers, or of a watchdog, is not a reason to give up."""
    return [
        line("old.load.before", "alloc", 0, step, "refused|ok"),
        line("old.pause.before", "alloc", 0, step, "refused"),
        line("new.takeover.before", "alloc", 0, step, "back|ok"),
    ]
