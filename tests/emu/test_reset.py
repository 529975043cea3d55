# SPDX-License-Identifier: Apache-2.0
"""Machines that are reset: memory keeps what updates have left in it, and nothing may come of it.

Each boot after a reset has to say that it has seen the handover page of the one before: otherwise
the memory did not survive, and the test would show nothing.
"""

import re

import pytest
from conftest import SVM, Case, built
from test_cases import (CONTROL, HELLO, WORKERS, images_take_turns, no_frame_lost, parameter)

# Away from where firmware and boot loader put their own.
PLACE = "liveupdate=16M@0x10000000"
AFTER = "update n=2 ok"
LOADED = "lu: loaded"
SEEN = re.compile(r"lu: handover page of an earlier boot: stage (\w+), ((?:no )?breadcrumb.*)")


def sightings(log):
    """(stage, breadcrumb) of what a boot has seen of the one before."""
    return [match.groups() for match in map(SEEN.fullmatch, log.molt) if match]


def clean_boots(run):
    """Each boot but the first has seen the old page, and began anew; updates work after it."""
    first, *others = run.log.boots
    assert not sightings(first), run.describe()
    for boot in others:
        assert len(sightings(boot)) == 1, run.describe()
        assert [end.code for end in boot.ends if end.code] == []
        updates = [update.n for update in boot.ok]
        assert updates == list(range(1, len(updates) + 1)), run.describe()


def last_boot(*checks):
    """Checks of ordinary runs, for the boot after the last reset."""

    def check(run):
        class Last:
            log = run.log.boots[-1]
            describe = run.describe

        for one in checks:
            one(Last)

    return check


def seen(stage, breadcrumb):
    """What the last boot has seen."""

    def check(run):
        assert sightings(run.log.boots[-1]) == [(stage, breadcrumb)], run.describe()

    return check


def says(text):
    def check(run):
        assert any(text in line for line in run.log.boots[-1].molt), run.describe()

    return check


GOOD = [clean_boots, last_boot(images_take_turns, no_frame_lost)]


def button(name, at, resets=1, delay=0, firmware="bios", checks=(), **more):
    """QEMU's reset button, without virtualization: molt updates itself."""
    extra = [word for _ in range(resets) for word in ("--reset-at", at)]
    return Case(
        name, "tcg", firmware, updates=4, interval=250, guests=[CONTROL, *WORKERS[:2]],
        resets=resets, extra=[*extra, "--reset-delay", str(delay), *more.pop("extra", [])],
        append=PLACE, checks=[*GOOD, *checks], timeout=90, seconds=6, **more,
    )


TEST_IMAGES = [built("molt-test.elf"), built("molt-test-next.elf")]
NO_NONCE = "breadcrumb not taken (this boot has no lu_nonce=)"

# Where test images reset the machine: under the old image, and under the new one -> what the next
# boot sees of it.
POINTS = {
    "old.save.before": None,  # nothing is there yet
    "old.offer.before": ("none", "no breadcrumb"),
    "old.jump": ("none", "no breadcrumb"),
    "new.traps.before": ("jumped", NO_NONCE),
    "new.init.before": ("jumped", NO_NONCE),
    "new.map.before": ("booted", NO_NONCE),
    "new.check.after": ("booted", NO_NONCE),
    "new.commit1.before": ("booted", NO_NONCE),
    "new.commit1.after": ("adopted", NO_NONCE),
    "new.commit2.before": ("adopted", NO_NONCE),
    "new.commit2.after": ("running", "no breadcrumb"),
}


# Bochs shows the same as QEMU, more slowly: `make test` has these there.
ON_BOCHS = ("old.jump", "new.init.before", "new.commit1.before", "new.commit2.after")


def inside(engine, point, cpus=1, **more):
    """A reset in the first update, at a point of it; then a boot that does updates. Audits of
    memory, the default of test images, would take most of the time."""
    place = PLACE + " audit=update"
    expected = POINTS[point]
    checks = [clean_boots, seen(*expected)] if expected else []
    name = f"reset-at-{point}" + (f"-{cpus}-cpus" if cpus > 1 else "")
    return Case(
        name, engine, updates=2, interval=200, guests=[CONTROL, WORKERS[0]], cpus=cpus, resets=1,
        append=f"{place} fault={point}:reset:1:0", images=TEST_IMAGES,
        extra=["--molt", TEST_IMAGES[0], "--append-again", place],
        checks=[*checks, last_boot(images_take_turns, no_frame_lost)], timeout=90, seconds=6,
        **more,
    )


CASES = [
    button("reset-after-updates", AFTER, checks=[seen("running", "no breadcrumb")]),
    button("reset-after-updates-4-cpus", AFTER, cpus=4,
           checks=[seen("running", "no breadcrumb")]),
    button("reset-after-updates", AFTER, firmware="uefi",
           checks=[seen("running", "no breadcrumb")]),
    button("reset-three-times", AFTER, resets=3),
    # Somewhere in an update: wherever it hits
    *(button(f"reset-in-update-{delay}", LOADED, resets=4, delay=delay)
      for delay in (0, 4, 8, 16)),
    button("reset-in-update-4-cpus", LOADED, resets=4, delay=10, cpus=4),
    # A nonce that nobody has left there
    button("reset-wrong-nonce", AFTER, extra=["--append-again", PLACE + " lu_nonce=0x1234567"],
           checks=[seen("running", "no breadcrumb"),
                   says("lu: lu_nonce= is for images to write: ignored")]),
    # By itself, at a point
    *(inside(SVM, point) for point in POINTS),
    *(inside("bochs", point, soak=point not in ON_BOCHS) for point in POINTS),
    *(inside("tcg", point, cpus=4) for point in ("old.jump", "new.init.before", "new.map.before")),
    Case("nonce-by-hand", "tcg", updates=2, interval=20, guests=[HELLO],
         append="lu_nonce=0x123456789abcdef1",
         checks=[says("lu: lu_nonce= is for images to write: ignored"), images_take_turns,
                 no_frame_lost], seconds=2),
]


@pytest.mark.parametrize("case", map(parameter, CASES))
def test_reset(case, case_run):
    case_run.expect(case.fails)
    for check in case.checks:
        check(case_run)


def prompt(terminal, name, *options):
    """A molt with a control domain and a worker, on a terminal, at its prompt."""
    molt = terminal([*options, "--guest", CONTROL, "--guest", WORKERS[0]], name)
    molt.expect(r"molt: boot: \d+ cycles", timeout=60)
    molt.type("\r")
    molt.expect("molt> ")
    return molt


@pytest.mark.parametrize("engine", [SVM, "bochs"])
def test_reset__at_the_console__boots_anew(terminal, engine):
    """After updates, by hand."""
    molt = prompt(terminal, f"{engine}-reset-at-the-console", "--engine", engine, "--append",
                  f"{PLACE} end=never", "--boots", "2")
    for n in (1, 2):
        molt.line("update")
        molt.expect(rf"molt: update n={n} ok ", 60)
    molt.line("reset")
    molt.expect("molt: reset: the guests are lost")
    molt.expect("molt: lu: handover page of an earlier boot: stage running, no breadcrumb", 60)
    molt.expect(r"molt: boot: \d+ cycles", timeout=60)
    molt.type("\r")
    molt.line("log")  # what led to it is still there
    molt.expect("update n=2 ok ")
    molt.expect("reset: the guests are lost")
    molt.expect("lu: handover page of an earlier boot")
    molt.line("update")
    molt.expect(r"molt: update n=1 ok ", 60)
    molt.line("quit")
    molt.expect("verdict: ok")
    assert molt.end() == 0
