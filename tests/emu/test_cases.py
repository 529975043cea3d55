# SPDX-License-Identifier: Apache-2.0
"""Runs of molt with its guests: a table, and what each run must show besides a good end."""

import pytest
from conftest import Case, built


def guest(name, *options, file=None, cmdline=""):
    """A value for --guest."""
    words = [built(f"guests/{file or name}.elf"), f"name={name}", *options]
    return ",".join(words + ([f"cmdline={cmdline}"] if cmdline else []))


NEXT = "module=" + built("molt-next.elf")
BOTH = ("module=" + built("molt.elf"), NEXT)
HELLO = guest("hello", "mem=20M")
CONTROL = guest("control", "mem=32M", "control")
CONTROL_BOTH = guest("control", "mem=48M", "control", *BOTH, cmdline="source=both")
WORKERS = [guest(f"worker{n}", "mem=64M", file="worker", cmdline=f"seed={n}") for n in range(1, 5)]
PLAIN32 = guest("plain32", "mem=32M")
WORKER64 = guest("worker64", "mem=32M")

# Every other page of some megabytes: far more fragments than any small table holds.
FRAGMENTS = "badpage=" + ",".join(f"{page:x}" for page in range(0x8000, 0x8000 + 1200, 2))

# name of the domain -> command line, what its line must say
CRASHES = {
    "triple": ("how=triple", None),
    "ept": ("how=ept", None),
    "ept-exec": ("how=ept-exec", None),
    "hlt": ("how=hlt", None),
    "stack": ("how=stack", None),
    "badcr3": ("how=badcr3", None),
    "code5": ("how=exit code=5", 5),
    "vmxon": ("how=vmxon", 0),
}


# --- checks ---


def all_exited(*names):
    def check(run):
        for name in names:
            assert run.log.exit_code(name) == 0, f"{name}: no exit with 0\n{run.describe()}"

    return check


def ticks_in_order(run):
    """Nothing printed is lost or printed twice."""
    for name in run.log.guests:
        ticks = run.log.ticks(name)
        assert ticks == list(range(1, len(ticks) + 1)), f"{name}: {ticks}"


def images_take_turns(run):
    """Update after update, each starts from what the one before led to, and changes the image."""
    numbers = [update.n for update in run.log.ok]
    assert numbers == list(range(1, len(numbers) + 1))
    for update in run.log.ok:
        assert update.source != update.target and update.blackout > 0
        assert sum(update.phases.values()) <= update.blackout
    for before, after in zip(run.log.ok, run.log.ok[1:]):
        assert before.target == after.source


def no_frame_lost(run):
    """Memory adds up to the same after each update."""
    lines = [{k: v for k, v in line.items() if k != "heap"} for line in run.log.memory]
    assert lines, "no account of the memory"
    for line in lines[1:]:
        assert line == lines[0], f"{line} after {lines[0]}"


def bad_pages(count):
    def check(run):
        assert run.log.memory
        for line in run.log.memory:
            assert int(line["bad"]) == count, line

    return check


def crashes_apart(run):
    """Each guest ended in its own way, for a reason that is given."""
    for name, (_, code) in CRASHES.items():
        end = next(end for end in run.log.ends if end.name == name)
        assert end.code == code, end
        assert code is not None or end.reason, end


def refused_with_reasons(run):
    assert len(run.log.refusals) > 30 and all(run.log.refusals), run.describe()
    assert len(run.log.ok) == 1


# --- the table ---

COLD = dict(checks=[ticks_in_order, no_frame_lost])
UPDATED = [ticks_in_order, images_take_turns]

CASES = [
    # boot
    Case(
        "boot", "bochs", guests=[guest("hello", "mem=20M", cmdline="seconds=2")],
        checks=[all_exited("hello")],
    ),
    Case("boot-4-cpus", "bochs", cpus=4, guests=[guest("hello", "mem=20M", cmdline="seconds=2")],
        checks=[all_exited("hello")], seconds=10),
    # domains own memory but do not run: molt updates itself
    Case("updates", "tcg", cpus=1, updates=10, interval=20, guests=[CONTROL, *WORKERS],
        checks=[images_take_turns, no_frame_lost]),
    Case("updates-4-cpus", "tcg", cpus=4, mem="2G", updates=10, interval=20,
        guests=[CONTROL, *WORKERS], checks=[images_take_turns, no_frame_lost]),
    Case("updates", "tcg", "uefi", updates=10, interval=20, guests=[CONTROL, *WORKERS],
        checks=[images_take_turns, no_frame_lost], timeout=90, seconds=20),
    Case("updates-4-cpus", "tcg", "uefi", cpus=4, mem="5G", updates=5, interval=20,
        guests=[CONTROL, HELLO], checks=[images_take_turns, no_frame_lost], timeout=90, seconds=20),
    Case("fragments", "tcg", mem="1G", updates=5, interval=20, append=FRAGMENTS,
        guests=[CONTROL, *WORKERS], checks=[images_take_turns, no_frame_lost, bad_pages(600)]),
    # guests run
    Case("updates", "bochs", updates=100, interval=100, mem="768M",
        guests=[CONTROL_BOTH, *WORKERS],
        checks=[*UPDATED, all_exited("control", "worker1", "worker2", "worker3", "worker4")],
        timeout=300, seconds=100),
    Case("updates-4-cpus", "bochs", cpus=4, updates=5, interval=100,
        guests=[CONTROL, WORKERS[0], PLAIN32],
        checks=[*UPDATED, all_exited("control", "worker1", "plain32")], timeout=150, seconds=40),
    Case("updates-32-and-64-bit", "bochs", updates=10, interval=50,
        guests=[CONTROL_BOTH, PLAIN32, WORKER64, HELLO],
        checks=[*UPDATED, all_exited("control", "plain32", "worker64", "hello")],
        timeout=120, seconds=15),
    Case("fragments", "bochs", updates=3, interval=50, append=FRAGMENTS,
        guests=[CONTROL, WORKERS[0]],
        checks=[*UPDATED, bad_pages(600), all_exited("control", "worker1")], seconds=10),
    Case("probe", "bochs", guests=[guest("probe", "mem=32M")], checks=[all_exited("probe")],
        timeout=120, seconds=15),
    Case("crashes", "bochs", updates=3, interval=300,
        guests=[CONTROL, WORKERS[0]]
        + [guest(name, "mem=18M", file="crash", cmdline=words)
           for name, (words, _) in CRASHES.items()],
        fails={"domain:" + name for name, (_, code) in CRASHES.items() if code != 0} | {"end"},
        checks=[*UPDATED, crashes_apart, all_exited("control", "worker1")], seconds=15),
    Case("refusals", "bochs", append="end=control",
        guests=[guest("refuse", "mem=64M", "control", NEXT), WORKERS[0]],
        checks=[ticks_in_order, refused_with_reasons, all_exited("refuse", "worker1")],
        timeout=120, seconds=15),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case, case_run):
    case_run.expect(case.fails)
    for check in case.checks:
        check(case_run)
