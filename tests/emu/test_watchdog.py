# SPDX-License-Identifier: Apache-2.0
"""A new image that hangs, on one CPU: the timer's NMIs bring the old one back."""

import re

import pytest
from conftest import SVM, Case, built
from test_cases import CONTROL, WORKERS, no_frame_lost, ticks_in_order

TEST_IMAGES = [built("molt-test.elf"), built("molt-test-next.elf")]
# HC_LU_R_*, reason
OLD = (18, "this image failed in the pause: deadline passed")
NEW = (36, "the new image failed: deadline passed")
DEADLINE_MS = 1000
PERIOD_MS = 55
# Of the old image in the pause, and of the new one from where it knows of a way back to commit 1;
# spinning, and halted with interrupts off
HANGS = {
    "old.save.before": "hang",
    "old.jump": "halt",
    "new.cpu.before": "hang",
    "new.memory.before": "halt",
    "new.map.before": "hang",
    "new.commit1.before": "halt",
}


def comes_back(code, reason, exact):
    """The first update came back as late as the deadline and the next NMI make it; what came
    after it worked."""

    def check(run):
        khz = int(re.search(r"TSC (\d+) kHz", "\n".join(run.log.molt)).group(1))
        first, *others = run.log.updates
        assert (first.result, first.code, first.reason) == ("back", code, reason), run.describe()
        assert first.blackout >= DEADLINE_MS * khz
        if exact:
            assert first.blackout <= (DEADLINE_MS + PERIOD_MS + 10) * khz
        assert all(update.result == "ok" for update in others), run.describe()

    return check


def worker_lives(run):
    """The guest beside the control domain has noticed nothing."""
    assert run.log.exit_code("worker1") == 0 and run.log.checks["worker1"].passed, run.describe()


def hang(engine, point, firmware="bios"):
    code, reason = OLD if point.startswith("old.") else NEW
    checks = [comes_back(code, reason, engine == "bochs"), no_frame_lost]
    fails = {"update:1"}
    if engine != "tcg":  # the control domain gives up when an update fails
        checks += [worker_lives, ticks_in_order]
        fails |= {"domain:control", "checks:control", "updates", "end"}
    return Case(
        f"hang-at-{point}", engine, firmware, updates=2, interval=100,
        guests=[CONTROL, WORKERS[0]], images=TEST_IMAGES, extra=["--molt", TEST_IMAGES[0]],
        append=f"audit=off fault={point}:{HANGS[point]}:1:0", fails=fails, checks=checks,
        seconds=6,
    )


CASES = [hang(engine, point) for engine in (SVM, "bochs") for point in HANGS]
CASES.append(hang("tcg", "new.map.before", "uefi"))


@pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in CASES])
def test_watchdog(case, case_run):
    case_run.expect(case.fails)
    for check in case.checks:
        check(case_run)
