# SPDX-License-Identifier: Apache-2.0
"""Debian's Linux as a guest: unmodified, under a load that checks itself (see tests/linux/)."""

import functools
import os
import subprocess
import threading

import pytest
from conftest import ROOT, Case, built
from test_cases import (
    BOCHS_DATE, CONTROL, WORKERS, all_exited, images_take_turns, no_frame_lost, ticks_in_order,
)

SETUP_SECONDS = 300
SETTLED = ("console=ttyS0,115200 nokaslr mitigations=off cryptomgr.notests "
           f"molt.date={BOCHS_DATE}")
COMPLAINTS = ("Call Trace", "WARNING", "BUG:", "unchecked MSR", "Unable to", "Bad FPU state")

_lock = threading.Lock()


@functools.lru_cache(maxsize=None)
def _setup():
    """What is wrong with the kernel and its initramfs; empty if they are there."""
    for tool in ("tools/linux/fetch", "tests/linux/initramfs"):
        command = [os.path.join(ROOT, tool)]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, timeout=SETUP_SECONDS, text=True, errors="replace",
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{tool}: no end after {SETUP_SECONDS} s"
        if done.returncode != 0:
            return f"{tool} failed: there is no Linux to boot\n{done.stdout}"
    return ""


def setup():
    """The kernel and its initramfs are in build/linux/; or an error that says why not."""
    with _lock:
        wrong = _setup()
    if wrong:
        raise RuntimeError(wrong)


def linux(*words, name="linux", kernel="vmlinuz", mem="256M"):
    """A value for --guest."""
    options = [built("linux/" + kernel), "name=" + name, "mem=" + mem]
    options.append("module=" + built("linux/initramfs.cpio"))
    return ",".join(options + ["cmdline=" + " ".join([SETTLED, *words])])


# --- checks ---


def no_complaints(run):
    """Neither before /init nor behind it."""
    for text in run.log.guests["linux"]:
        assert not any(word in text for word in COMPLAINTS), f"{text}\n{run.describe()}"


def passed(*areas):
    """The guest has checked these."""

    def check(run):
        texts = run.log.guests["linux"]
        for area in areas:
            start = f"PASS: {area}: "
            assert any(text.startswith(start) for text in texts), f"{area}\n{run.describe()}"

    return check


def updated_under_load(least):
    """So many updates happened while the load ran."""

    def check(run):
        begin = next(n for n, line in enumerate(run.log.lines) if "[linux] load: begins" in line)
        end = next(n for n, line in enumerate(run.log.lines) if "[linux] load: over" in line)
        count = sum(begin < update.line < end for update in run.log.ok)
        assert count >= least, f"{count} updates under load\n{run.describe()}"

    return check


def says(text):
    def check(run):
        assert any(text in line for line in run.log.guests["linux"]), run.describe()

    return check


KERNEL = passed("kernel", "clocksource", "interrupts", "date")
LOAD = passed(
    "memory", "vectors", "clock", "uptime", "tsc", "nanosleep", "timerfd", "beat", "digest", "fifo",
    "lines",
)

CASES = [
    Case("linux-power-off", "bochs", mem="512M", guests=[linux()], prepare=setup,
        checks=[all_exited("linux"), KERNEL, no_complaints, says("reboot: Power down")],
        seconds=12),
    Case("linux-reboot", "bochs", mem="512M", guests=[linux("molt.end=reboot")], prepare=setup,
        checks=[all_exited("linux"), KERNEL, no_complaints, says("reboot: Restarting system")],
        seconds=12),
    Case("linux-updates", "bochs", mem="768M", updates=20, interval=1500, prepare=setup,
        guests=[CONTROL, WORKERS[0], linux("molt.seconds=10")],
        checks=[all_exited("control", "worker1", "linux"), KERNEL, LOAD, no_complaints,
                ticks_in_order, images_take_turns, no_frame_lost, updated_under_load(5)],
        timeout=120, seconds=55),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_linux(case, case_run):
    case_run.expect(case.fails)
    for check in case.checks:
        check(case_run)
