# SPDX-License-Identifier: Apache-2.0
"""Runs with random moments and random accesses: interrupts counted over updates, hostile guests.

All of them follow from a seed, so a run repeats. `make test` has fixed seeds. The long runs
(`make soak`) take SOAK_SEED from the environment and go up from there (default 1000); the seed is
in the case's name, on the guests' command lines and in their first lines.
"""

import os
import re

import pytest
from conftest import BOCHS, Case, both, built, run_molt
from test_cases import (RYZEN, WORKERS, all_exited, guest, images_take_turns, nothing_leaks,
                        parameter, ticks_in_order)

SOAK_SEED = int(os.environ.get("SOAK_SEED", "1000"))
OPERATIONS_PER_MS = 2  # of chaos beside a worker on TCG
HOLES = 8  # ways to reach outside: tests/guests/chaos/mmio.c

# What molt may say of guests that try everything. What ends in "..." is a start.
EXPECTED = (
    "audit: ok ...",
    "molt ...", "command line: ...", "liveupdate: region ...", "domain ...", "boot: ...",
    "memory: ...", "wall clock: ...", "cpus: ...", "exits ...", "update n=...", "lu: loaded ...",
    "lu: refused: ...", "svm: ...", "end ok",
)


def control(seed, jitter, *words):
    cmdline = " ".join([f"seed={seed} jitter={jitter}", *words])
    return guest("control", "mem=20M", "control", cmdline=cmdline)


# --- checks ---


def only_expected(run):
    """molt has nothing to report but what it always does."""
    for text in run.log.molt:
        assert any(text.startswith(known[:-3]) if known.endswith("...") else text == known
                   for known in EXPECTED), f"unexpected: {text}\n{run.describe()}"


def interrupts_exact(areas):
    """Every area was tested, each interrupt was taken once."""

    def check(run):
        texts = run.log.guests["irqexact"]
        for area in areas:
            assert any(re.match(rf"PASS: {area}: [1-9]\d* checks", text) for text in texts), area
        assert any(re.match(r"PASS: irq: \d+ rounds, \d+ interrupts", text) for text in texts)

    return check


def updates_everywhere(run):
    """Updates met the guest in several of its states; when, is the host's matter on QEMU."""
    hits = re.findall(r"^hit (\S+) n=(\d+)$", "\n".join(run.log.guests["irqexact"]), re.M)
    met = [place for place, n in hits if int(n) > 0]
    assert len(met) >= 2 or len(run.log.ok) < 50, hits


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
    return both(
        f"irqexact-{name}", cpus=cpus, mem="256M", updates=updates, interval=60,
        guests=[control(seed, 3000, "alone=1"), guest("irqexact", *options, cmdline=words)],
        checks=[images_take_turns, only_expected, nothing_leaks,
                interrupts_exact(ALONE + (BETWEEN if vcpus > 1 else [])),
                all_exited("control", "irqexact")],
        exact=[updates_everywhere], timeout=180, seconds=15, **more)


def chaos(name, ops, seed=1, updates=3, interval=300, **more):
    """Random accesses beside a guest that checks itself, with updates meanwhile. On TCG the updates
    last as long as so many take on a host that is idle, and a fifth has to be done by then."""

    def with_operations(least):
        words = f"seed={seed} ops={least} until=molt"
        return {"guests": [control(seed, 100000), WORKERS[0],
                           guest("chaos", "mem=20M", cmdline=words)],
                "checks": [images_take_turns, ticks_in_order, only_expected, operations(least),
                           all_exited("control", "worker1", "chaos")]}

    return both(
        f"chaos-{name}", mem="256M", updates=updates, interval=interval, **with_operations(ops),
        svm=with_operations(ops // 5) | {"interval": ops // OPERATIONS_PER_MS // updates},
        timeout=ops // 100 + 100, seconds=15, **more)


def chaos_control(name, ops, seed=1, **more):
    """The same in the control domain: all of the hypercalls, by VMCALL and by the door."""
    return both(
        f"chaos-control-{name}", mem="256M", append="end=control",
        guests=[guest("chaos", "mem=20M", "control", cmdline=f"seed={seed} ops={ops}"), WORKERS[0]],
        checks=[ticks_in_order, only_expected, operations(ops), all_exited("worker1", "chaos")],
        timeout=ops // 100 + 100, seconds=15, **more)


CASES = [
    *irqexact("xapic", "xapic"),
    *irqexact("x2apic", "x2apic", seed=2, updates=20),
    *irqexact("2-vcpus-1-cpu", "xapic", vcpus=2, seed=3),
    *irqexact("2-vcpus-2-cpus", "xapic", vcpus=2, cpus=2, seed=4, updates=12),
    *irqexact("3-vcpus-2-cpus", "x2apic", vcpus=3, cpus=2, seed=5, updates=12),
    Case("irqexact-ryzen", BOCHS, mem="256M", updates=10, interval=20, extra=RYZEN,
         guests=[guest("control", "mem=20M", "control", cmdline="engine=tcg seed=6 jitter=3000"),
                 guest("irqexact", "mem=20M", cmdline="engine=tcg apic=xapic seed=6 vcpus=1")],
         checks=[images_take_turns, only_expected, nothing_leaks, interrupts_exact(ALONE),
                 all_exited("control", "irqexact")], timeout=180, seconds=20),
    *chaos("ordinary", 16000),
    *chaos_control("all-calls", 16000),
    *both(
        "chaos-holes", mem="384M", append="end=control", updates=2, interval=100,
        guests=[control(1, 0), WORKERS[0]]
        + [guest(f"hole{way}", "mem=18M", file="chaos",
                 cmdline=f"seed={way + 1} ops=500 end=hole way={way}") for way in range(HOLES)],
        fails={f"domain:hole{way}" for way in range(HOLES)} | {"end"},
        checks=[holes_apart, ticks_in_order, all_exited("control", "worker1")], seconds=10),
    # the long runs: 600 updates in all, a million operations
    *(case for seed in range(SOAK_SEED, SOAK_SEED + 10)
      for case in irqexact(f"soak-seed{seed}", ("xapic", "x2apic")[seed % 2], vcpus=1 + seed % 3,
                           cpus=1 + seed // 3 % 2, seed=seed, updates=60, soak=True)),
    *(case for seed in (SOAK_SEED, SOAK_SEED + 1)
      for case in (*chaos(f"soak-seed{seed}", 300000, seed=seed, updates=20, interval=3000,
                          soak=True),
                   *chaos_control(f"soak-seed{seed}", 200000, seed=seed, soak=True))),
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
