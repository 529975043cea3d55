# SPDX-License-Identifier: Apache-2.0
"""Faults in updates, at every point and of every kind: docs/TESTING.md, "Faults".

Each run writes a part of build/fault-table.txt: point, kind, CPUs, engine, outcome, and of an
update that came back the blackout in TSC cycles, the longest of several seeds.
"""

import os
import re
import subprocess

import faults
import pytest
from conftest import BOCHS, LOGS, ROOT, SVM, Case, built
from test_cases import accounts, guest, parameter
from test_linux import linux, setup

TABLE = os.path.join(ROOT, "build", "fault-table.txt")
IMAGES = [built("molt-test.elf"), built("molt-test-next.elf")]
# A hang costs so many milliseconds of a run's time. The control guest asks for audits and digests
# itself, so that the blackouts of the table are as without them.
QUICK = "lu_deadline=200 audit=off"
QUICK_ON_QEMU = "lu_deadline=2000 audit=off"  # of the host's time, and it may be busy

_FAULT = re.compile(r"fault point=(\S+) kind=(\S+) n=(\d+) seed=(\d+) result=(-?\d+) "
                    r"outcome=(\S+) code=(\d+) blackout=(\d+) ")


# --- the table ---


def write_table(name, rows):
    """A run's part, and the table of all parts that there are."""
    os.makedirs(LOGS, exist_ok=True)
    with open(os.path.join(LOGS, name + ".faults"), "w", encoding="utf-8") as file:
        file.writelines(" ".join(map(str, row)) + "\n" for row in rows)
    longest = {}  # of several with the same four words, as seeds make them
    for part in sorted(entry for entry in os.listdir(LOGS) if entry.endswith(".faults")):
        with open(os.path.join(LOGS, part), encoding="utf-8") as file:
            for words in map(str.split, file):
                blackout = 0 if words[5] == "-" else int(words[5])
                key = tuple(words[:5])
                longest[key] = max(longest.get(key, 0), blackout)
    order = {point: index for index, point in enumerate(faults.POINTS)}
    with open(TABLE, "w", encoding="utf-8") as file:
        file.write("point kind cpus engine outcome blackout\n")
        for key in sorted(longest, key=lambda key: (order[key[0]], key)):
            file.write(" ".join([*key, str(longest[key] or "-")]) + "\n")


# --- runs in which guests survive everything ---


def list_file(name, lines):
    """module=FILE, and the function that writes the file."""
    path = os.path.join("build", "emu", name + ".list")

    def write():
        os.makedirs(LOGS, exist_ok=True)
        with open(os.path.join(ROOT, path), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    return "module=" + path, write


def told(run):
    """What the control guest says of each fault."""
    return [match.groups() for match in map(_FAULT.match, run.log.guests.get("faults", []))
            if match]


def all_survived(lines, cpus, engine):
    """Each fault of the list came to pass, to what it should; nobody noticed but the caller."""

    def check(run):
        found = told(run)
        wanted = {tuple(line.split()[:2]) for line in lines}
        assert {fault[:2] for fault in found} == wanted, run.describe()
        rows = []
        for point, kind, _, _, _, outcome, _, blackout in found:
            assert outcome in ("back", "pause", "refused", "ok"), run.describe()
            came_back = outcome in ("back", "pause")
            assert (int(blackout) > 0) == came_back, run.describe()
            rows.append((point, kind, cpus, engine, "alive", blackout if came_back else "-"))
        write_table(run.name, rows)
        for name in ("faults", "worker", "plain32"):
            assert run.log.exit_code(name) == 0, run.describe()
        assert not run.log.panics
        back = [update for update in run.log.updates if update.result == "back"]
        assert len(back) == sum(fault[5] in ("back", "pause") for fault in found)

    return check


def no_unexpected(run):
    """The runner counts updates that failed as failures: those were asked for."""
    assert {key for key in run.keys if not key.startswith("update:")} == set(), run.describe()


def survive(name, cpus, lines, seconds, append="", words="", engine=BOCHS, **more):
    module, write = list_file(f"faults-{name}-{engine}", lines)
    quick = QUICK if engine == BOCHS else QUICK_ON_QEMU
    case = Case(
        name, engine, cpus=cpus, images=IMAGES, append=f"end=control {quick} {append}",
        guests=[guest("faults", "mem=20M", "control", module, cmdline=f"still=2 {words}"),
                guest("still", "mem=18M", file="worker", cmdline="maxgap=10000000"),
                guest("worker", "mem=32M", cmdline="maxgap=10000 tick=10000"),
                guest("plain32", "mem=32M", cmdline="maxgap=10000 tick=10000")],
        extra=["--molt", IMAGES[0]], seconds=seconds, **more)
    before = case.prepare

    def prepare():
        write()
        if before:
            before()

    case.prepare = prepare
    case.checks = [no_unexpected, all_survived(lines, cpus, engine)]
    return case


# Where the watch over the first CPU goes from one loop of the others to another.
HANDING_OVER = [faults.line(point, "hang") for point in (
    "old.off.before", "old.offer.before", "old.park.before", "old.jump")]
MIXED = [*faults.RELOCATION, *faults.SLOW, *faults.flips(1, 4)]

AUDITED = [faults.line(point, kind) for point, kind in (
    ("old.save.vcpu", "panic"), ("old.park.before", "hang"), ("jump.leave", "ud"),
    ("new.memory.before", "pf"), ("new.map.after", "hang"), ("new.commit1.before", "panic"))]

ALONE = "alone=1"  # guests wait while an image is loaded, which is where most of the time goes

SURVIVED = [
    survive("faults-1-cpus", 1, faults.some_kinds(1), 60, words=ALONE, timeout=600),
    survive("faults-2-cpus", 2, [*faults.some_kinds(2)[::2], *HANDING_OVER], 60, words=ALONE,
            timeout=600),
    survive("faults-of-data", 1, MIXED, 20, words=ALONE, timeout=300),
    survive("faults-of-allocation", 1, faults.allocations(11), 30, words=ALONE, timeout=300),
    # without hangs, each of which costs a deadline
    *(survive(f"faults-{cpus}-cpus", cpus, faults.one_kind(cpus), 40, words=ALONE, timeout=600,
              engine=SVM) for cpus in (1, 2)),
    *(survive(name, cpus, [*faults.RELOCATION[:2], *faults.flips(1, 4)], 15, words=ALONE,
              timeout=300, engine=SVM)
      for name, cpus in (("faults-of-data", 1), ("faults-of-data-2-cpus", 2))),
    survive("faults-of-allocation", 1, faults.allocations(11), 20, words=ALONE, timeout=300,
            engine=SVM),
    # under the gate: every update compares all of memory, before and after
    survive("faults-audited", 1, AUDITED, 60, "audit=memory", timeout=3600, soak=True),
    # all of it
    survive("faults-of-data-2-cpus", 2, MIXED, 100, timeout=600, soak=True),
    *(survive(f"faults-all-{cpus}-cpus", cpus, faults.every_kind(cpus), 300 * cpus, timeout=3600,
              soak=True) for cpus in (1, 2)),
    *(survive(f"faults-of-allocation-all-{cpus}-cpus", cpus, faults.allocations(1), 300 * cpus,
              timeout=3600, soak=True) for cpus in (1, 2)),
    *(survive(f"mutations-{cpus}-cpus", cpus, faults.flips(1000 * cpus, 40), 200 * cpus,
              timeout=3600, soak=True) for cpus in (1, 2)),
]


# --- endurance ---


def endured(updates):
    """All of it with the frames at the end as at the start, and clocks where they were."""

    def check(run):
        assert len(run.log.ok) >= updates, run.describe()
        after = accounts(run.log)[1:]  # the first one is of the boot
        assert all(account == after[0] for account in after), run.describe()
        texts = [text for text in run.log.guests["faults"] if text.startswith("PASS: endurance: ")]
        assert len(texts) == updates // 20, run.describe()
        versions = {re.search(r"stream=(\d)", text).group(1) for text in run.log.molt
                    if text.startswith("update n=") and " ok " in text}
        assert versions == {"1", "2"}

    return check


def endure(name, updates, more_guests=(), **more):
    lines = faults.endurance(updates)
    case = survive(name, 1, lines, updates, **more)
    case.images = [*IMAGES, built("molt-v1.elf")]
    case.guests += more_guests
    case.checks = [no_unexpected, endured(updates)]
    return case


ENDURANCE = [
    endure("endurance-60", 60, timeout=300, engine=SVM),
    endure("endurance-1000", 1000, [linux("quiet molt.seconds=600")], mem="768M", prepare=setup,
           timeout=3 * 3600, soak=True),
]


@pytest.mark.parametrize("case", map(parameter, ENDURANCE))
def test_endurance(case, case_run):
    for check in case.checks:
        check(case_run)


@pytest.mark.parametrize("case", map(parameter, SURVIVED))
def test_survived(case, case_run):
    for check in case.checks:
        check(case_run)


# --- a fault that ends the machine ---


def ends(point, kind):
    """As it should: a panic says so and molt ends, but for what comes before the new image can."""

    def check(run):
        assert told(run) == [], run.describe()
        assert any(f"fault: {point}" in text for text in run.log.panics), run.describe()
        assert run.log.end == "failed"
        write_table(run.name, [(point, kind, run_cpus(run), "bochs", "lost", "-")])

    return check


def run_cpus(run):
    return 2 if run.name.endswith("-2-cpus") else 1


def lose(point, cpus=1, kind=None, **more):
    kind = kind or ("ud" if point in faults.ASSEMBLY else "panic")
    lines = [faults.line(point, kind)]
    name = f"lost-{point}-{kind}" + (f"-{cpus}-cpus" if cpus > 1 else "")
    case = survive(name, cpus, lines, 4, words="settle=1000000", timeout=60, **more)
    case.checks = [ends(point, kind)]
    return case


SAMPLE = ("old.request", "new.commit1.after", "new.commit2.after")

ENDED = [
    *(lose(point) for point in SAMPLE),
    *(lose(point, soak=True) for point, outcome in faults.POINTS.items()
      if outcome == faults.LOST and point not in SAMPLE and point not in faults.SEVERAL_CPUS
      and not point.startswith("old.back.")),
    *(lose(point, 2, soak=True) for point in sorted(faults.SEVERAL_CPUS)
      if faults.POINTS[point] == faults.LOST),
]


@pytest.mark.parametrize("case", map(parameter, ENDED))
def test_ended(case, case_run):
    for check in case.checks:
        check(case_run)


# --- without virtualization: molt updates itself, one fault of the command line in the first ---


def memory_path(point, kind, cpus=1, firmware="bios", n=1):
    """QEMU: the update fails, the next ones work, domains' memory is the same."""
    name = f"fault-{point}-{kind}" + (f"-{cpus}-cpus" if cpus > 1 else "")
    case = Case(
        name, "tcg", firmware, cpus=cpus, images=IMAGES, updates=2, interval=20,
        append=f"digest {QUICK} fault={point}:{kind}:{n}:7",
        guests=[guest("hello", "mem=20M")], extra=["--molt", IMAGES[0]],
        fails={"update:1"}, seconds=10 if firmware == "uefi" else 3)

    def check(run):
        assert [update.result for update in run.log.updates] == ["back", "ok", "ok"], run.describe()
        digests = {digest.fields["crc"] for digest in run.log.digests}
        assert len(digests) == 1, run.describe()
        blackout = re.search(r"n=1 back .* blackout=(\d+) ", "\n".join(run.log.molt))
        write_table(run.name, [(point, kind, cpus, "tcg", "alive", blackout.group(1))])

    case.checks = [check]
    return case


MEMORY_PATH = [
    memory_path("old.save.domain", "panic"),
    memory_path("old.jump", "list-write"),
    memory_path("old.jump", "flip-stream", cpus=2),
    memory_path("jump.relocate", "ud"),
    memory_path("jump.leave", "hang", cpus=2),
    memory_path("jump.enter", "ud", cpus=2),
    memory_path("new.entry32", "ud"),
    memory_path("new.entry32", "hang", cpus=2),
    memory_path("new.entry64", "ud", firmware="uefi"),
    memory_path("new.traps.before", "pf", cpus=2),
    memory_path("new.cpu.before", "pf"),
    memory_path("new.paging.after", "panic", firmware="uefi"),
    memory_path("new.map.after", "hang"),
    memory_path("new.map.after", "halt", cpus=2),
    memory_path("new.check.after", "gp"),
    memory_path("new.record.extents", "stack", cpus=2),
    memory_path("new.commit1.before", "panic", cpus=4),
]


@pytest.mark.parametrize("case", MEMORY_PATH, ids=str)
def test_memory_path(case, case_run):
    case_run.expect(case.fails)
    for check in case.checks:
        check(case_run)


# --- the list itself ---


def test_points__in_the_source__exactly_those_of_the_list():
    found = subprocess.run(
        ["git", "grep", "-hoE",
         r'FAULT_POINT\("[^"]+"\)|\[FAULT_ASM_[A-Z0-9]+\] = "[a-z][^"]+\.[^"]+"', "--", "*.c"],
        cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = re.findall(r'"([^"]+)"', found)
    assert sorted(set(names)) == sorted(faults.POINTS)
    assert len(names) == len(set(names)), "a point stands at two places"
    assert len(names) >= 40
