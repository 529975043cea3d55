# SPDX-License-Identifier: Apache-2.0
"""Runs with random moments and random accesses: interrupts counted over updates, hostile guests.

All of them follow from a seed, so a run repeats. `make test` has fixed seeds. The long runs
(`make soak`) take SOAK_SEED from the environment and go up from there (default 1000); the seed is
in the case's name, on the guests' command lines and in their first lines.
"""

import os
import re

import pytest
from conftest import Case, built, run_molt
from test_cases import (WORKERS, all_exited, guest, images_take_turns, nothing_leaks, parameter,
                        ticks_in_order)

SOAK_SEED = int(os.environ.get("SOAK_SEED", "1000"))
HOLES = 8  # ways to reach outside: tests/guests/chaos/mmio.c

# What molt may say of guests that try everything. What ends in "..." is a start.
EXPECTED = (
    "molt ...", "command line: ...", "liveupdate: region ...", "domain ...", "boot: ...",
    "memory: ...", "wall clock: ...", "cpus: ...", "exits ...", "update n=...", "lu: loaded ...",
    "lu: refused: ...", "end ok",
)


def control(seed, jitter):
    return guest("control", "mem=20M", "control", cmdline=f"seed={seed} jitter={jitter}")


# --- checks ---


def only_expected(run):
    """molt has nothing to report but what it always does."""
    for text in run.log.molt:
        assert any(text.startswith(known[:-3]) if known.endswith("...") else text == known
                   for known in EXPECTED), f"unexpected: {text}\n{run.describe()}"


def interrupts_exact(areas):
    """Every area was tested, and updates met the guest in several of its states."""

    def check(run):
        texts = run.log.guests["irqexact"]
        for area in areas:
            assert any(re.match(rf"PASS: {area}: [1-9]\d* checks", text) for text in texts), area
        assert any(re.match(r"PASS: irq: \d+ rounds, \d+ interrupts", text) for text in texts)
        hits = dict(re.findall(r"^hit (\S+) n=(\d+)$", "\n".join(texts), re.M))
        met = [place for place, n in hits.items() if int(n) > 0]
        assert len(met) >= 2 or len(run.log.ok) < 50, hits

    return check


def operations(least):
    """So many random operations, with all kinds of results."""

    def check(run):
        text = next(text for text in run.log.guests["chaos"] if text.startswith("PASS: chaos: "))
        done, exceptions, interrupts, made = (int(word) for word in re.findall(r"\d+", text))
        assert done >= least and exceptions > least // 10 and interrupts > 0, text
        control_domain = "control=1" in next(
            line for line in run.log.guests["chaos"] if line.startswith("chaos seed="))
        assert (made > 0) == control_domain, text

    return check


def holes_apart(run):
    """Each was stopped for an access outside its memory or an instruction not emulated there."""
    for way in range(HOLES):
        end = next(end for end in run.log.ends if end.name == f"hole{way}")
        assert end.code is None, end
        assert re.search("outside its memory|not emulated|outside", end.reason), end
        assert f"chaos: way {way}" in run.log.guests[f"hole{way}"], run.describe()


# --- the table ---

ALONE = ["self IPI", "STI shadow", "MOV SS shadow", "nesting", "TPR", "NMI", "one-shot", "deadline",
         "periodic", "I/O APIC"]
BETWEEN = ["IPI", "lowest priority", "logical destination", "NMI to others", "INIT and SIPI"]


def irqexact(name, mode, vcpus=1, cpus=1, seed=1, updates=50, **more):
    """Updates at random moments under a guest that counts its interrupts."""
    options = ["mem=20M"] + ([f"vcpus={vcpus}"] if vcpus > 1 else [])
    words = f"apic={mode} seed={seed} vcpus={vcpus}"
    return Case(
        f"irqexact-{name}", "bochs", cpus=cpus, mem="256M", updates=updates, interval=20,
        guests=[control(seed, 3000), guest("irqexact", *options, cmdline=words)],
        checks=[images_take_turns, only_expected, nothing_leaks,
                interrupts_exact(ALONE + (BETWEEN if vcpus > 1 else [])),
                all_exited("control", "irqexact")],
        timeout=180, seconds=15, **more)


def chaos(name, ops, seed=1, updates=3, **more):
    """Random accesses beside a guest that checks itself, with updates meanwhile."""
    return Case(
        f"chaos-{name}", "bochs", mem="256M", updates=updates, interval=300,
        guests=[control(seed, 100000), WORKERS[0],
                guest("chaos", "mem=20M", cmdline=f"seed={seed} ops={ops} until=molt")],
        checks=[images_take_turns, ticks_in_order, only_expected, operations(ops),
                all_exited("control", "worker1", "chaos")],
        timeout=ops // 100 + 100, seconds=15, **more)


def chaos_control(name, ops, seed=1, **more):
    """The same in the control domain: all of the hypercalls, by VMCALL and by the door."""
    return Case(
        f"chaos-control-{name}", "bochs", mem="256M", append="end=control",
        guests=[guest("chaos", "mem=20M", "control", cmdline=f"seed={seed} ops={ops}"), WORKERS[0]],
        checks=[ticks_in_order, only_expected, operations(ops), all_exited("worker1", "chaos")],
        timeout=ops // 100 + 100, seconds=15, **more)


CASES = [
    irqexact("xapic", "xapic"),
    irqexact("x2apic", "x2apic", seed=2),
    irqexact("2-vcpus-1-cpu", "xapic", vcpus=2, seed=3),
    irqexact("2-vcpus-2-cpus", "xapic", vcpus=2, cpus=2, seed=4, updates=12),
    irqexact("3-vcpus-2-cpus", "x2apic", vcpus=3, cpus=2, seed=5, updates=12),
    chaos("ordinary", 20000),
    chaos_control("all-calls", 20000),
    Case(
        "chaos-holes", "bochs", mem="384M", append="end=control", updates=2, interval=100,
        guests=[control(1, 0), WORKERS[0]]
        + [guest(f"hole{way}", "mem=18M", file="chaos",
                 cmdline=f"seed={way + 1} ops=500 end=hole way={way}") for way in range(HOLES)],
        fails={f"domain:hole{way}" for way in range(HOLES)} | {"end"},
        checks=[holes_apart, ticks_in_order, all_exited("control", "worker1")], seconds=10),
    # the long runs: 600 updates in all, a million operations
    *(irqexact(f"soak-seed{seed}", ("xapic", "x2apic")[seed % 2], vcpus=1 + seed % 3,
               cpus=1 + seed // 3 % 2, seed=seed, updates=60, soak=True)
      for seed in range(SOAK_SEED, SOAK_SEED + 10)),
    *(chaos(f"soak-seed{seed}", 300000, seed=seed, updates=20, soak=True)
      for seed in (SOAK_SEED, SOAK_SEED + 1)),
    *(chaos_control(f"soak-seed{seed}", 200000, seed=seed, soak=True)
      for seed in (SOAK_SEED, SOAK_SEED + 1)),
]


@pytest.mark.parametrize("engine, cpus, mode", [("tcg", 1, "xapic"), ("tcg", 3, "xapic"),
                                                ("bochs", 1, "x2apic")])
def test_irqexact__on_the_engine_itself__passes(engine, cpus, mode):
    """The guest is right: it boots without molt, and finds the same on an APIC that is not ours."""
    words = f"vcpus={cpus} apic={mode} rounds=10" + (" engine=tcg" if engine == "tcg" else "")
    run = run_molt(["--engine", engine, "--cpus", str(cpus), "--no-guests", "--append", words,
                    "--molt", built("guests/irqexact.elf"), "--image", built("molt.elf"),
                    "--timeout", "60"], f"{engine}-irqexact-itself-{cpus}-{mode}")
    run.expect({"end"})  # nobody says "molt: end"
    assert any(re.fullmatch(r"SUMMARY: \d+ tests, 0 failures", line) for line in run.log.lines), \
        run.describe()
    assert any(line.startswith("PASS: irq: 10 rounds") for line in run.log.lines), run.describe()


@pytest.mark.parametrize("case", map(parameter, CASES))
def test_chaos(case, case_run):
    case_run.expect(case.fails)
    for check in case.checks:
        check(case_run)
