# SPDX-License-Identifier: Apache-2.0
"""Debian's Linux as a guest: unmodified, under a load that checks itself (see tests/linux/)."""

import functools
import os
import subprocess
import threading

import pytest
from conftest import ROOT, Case, built
from test_cases import (
    BOCHS_DATE, CONTROL, all_exited, guest, images_take_turns, molt_line, no_frame_lost, parameter,
    ticks_in_order,
)

from moltlib.log import fields

SETUP_SECONDS = 300
SETTLED = ("console=ttyS0,115200 nokaslr mitigations=off cryptomgr.notests "
           f"molt.date={BOCHS_DATE}")
COMPLAINTS = ("Call Trace", "WARNING", "BUG:", "unchecked MSR", "Unable to handle", "Bad FPU state")

_lock = threading.Lock()


@functools.lru_cache(maxsize=None)
def _setup():
    """What is wrong with the kernel and its initramfs; empty if they are there."""
    for tool, *words in (["tools/linux/fetch", "cloud", "amd64"], ["tests/linux/initramfs"]):
        command = [os.path.join(ROOT, tool), *words]
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


def linux(*words, name="linux", kernel="vmlinuz", mem="128M", vcpus=1):
    """A value for --guest. With `quiet` the console's speed does not count."""
    options = [built("linux/" + kernel), "name=" + name, "mem=" + mem, f"vcpus={vcpus}"]
    options.append("module=" + built("linux/initramfs.cpio"))
    return ",".join(options + ["cmdline=" + " ".join([SETTLED, *words])])


def control(delay):
    """The control guest, whose updates begin after `delay` milliseconds."""
    return CONTROL + f",cmdline=delay={delay}"


# --- checks ---


def no_complaints(*names):
    """Neither before /init nor behind it."""

    def check(run):
        for name in names:
            for text in run.log.guests[name]:
                assert not any(word in text for word in COMPLAINTS), f"{text}\n{run.describe()}"

    return check


def passed(name, areas):
    """The guest has checked these, and complains about nothing."""

    def check(run):
        texts = run.log.guests[name]
        for area in areas:
            start = f"PASS: {area}: "
            assert any(text.startswith(start) for text in texts), f"{area}\n{run.describe()}"

    return check


def updated_under_load(least, *names):
    """So many updates happened while the load of each ran."""

    def check(run):
        for name in names:
            begin, end = (
                next(n for n, line in enumerate(run.log.lines) if f"[{name}] load: {what}" in line)
                for what in ("begins", "over")
            )
            count = sum(begin < update.line < end for update in run.log.ok)
            assert count >= least, f"{name}: {count} updates under load\n{run.describe()}"

    return check


def says(name, text):
    def check(run):
        assert any(text in line for line in run.log.guests[name]), run.describe()

    return check


def exits_at_most(name, **limits):
    """Of these kinds of exits the guest has caused no more since its image began."""

    def check(run):
        text = next(text for text in run.log.molt if text.startswith(f"exits {name} "))
        found = {key: int(value) for key, value in fields(text).items()}
        for kind, limit in limits.items():
            assert found.get(kind, 0) <= limit, text

    return check


KERNEL = ["kernel", "clocksource", "interrupts", "date"]
LOAD = KERNEL + [
    "memory", "vectors", "clock", "uptime", "tsc", "nanosleep", "timerfd", "beat", "digest", "fifo",
    "lines",
]
SMP = LOAD + ["processors", "futex", "pipe", "membarrier", "shootdown", "hop"]
UPDATED = [ticks_in_order, images_take_turns, no_frame_lost]

# A boot to /init and a power-off, by kind; docs/LINUX.md says what they are. With messages on the
# console there are two for each character besides.
EXITS = {"cpuid": 2000, "rdmsr": 150, "wrmsr": 5000, "io": 2000, "stage2": 700, "irq-window": 400,
         "cr": 10, "nop": 10, "hypercall": 0, "undefined": 0, "unknown": 0}
# A multiboot1 guest that leaves the CPU to the others most of the time.
WORKER = guest("worker", "mem=64M", cmdline="sleep=50000")
TWO_LINUX = [
    linux("quiet molt.seconds=14", name="linux1"),
    linux("quiet molt.seconds=14", name="linux2"),
]

CASES = [
    # a boot with all messages; nothing is probed that is not there
    Case("linux-power-off", "bochs", mem="512M", guests=[linux()], prepare=setup,
        checks=[all_exited("linux"), passed("linux", KERNEL), no_complaints("linux"),
                says("linux", "clockevent=lapic-deadline handler=hrtimer_interrupt apic=x2apic"),
                exits_at_most("linux", **dict(EXITS, io=40000)),
                says("linux", "reboot: Power down")],
        seconds=12),
    # the other timers, clocks and APIC modes; PVH
    Case("linux-modes", "bochs", mem="768M", prepare=setup,
        guests=[linux("quiet nox2apic lapic=notscdeadline molt.seconds=3 molt.end=reboot",
                      name="xapic"),
                linux("quiet nohz=off highres=off lapic=notscdeadline clocksource=tsc"
                      " molt.seconds=3", name="periodic", kernel="vmlinux")],
        checks=[all_exited("xapic", "periodic"), passed("xapic", LOAD), passed("periodic", LOAD),
                no_complaints("xapic", "periodic"),
                says("xapic", "clocksource=kvm-clock clockevent=lapic handler=hrtimer_interrupt"
                     " apic=xapic"),
                says("xapic", "reboot: Restarting system"),
                says("periodic", "clocksource=tsc clockevent=lapic handler=tick_handle_periodic"
                     " apic=x2apic")],
        timeout=240, seconds=35),
    # the ordinary kernel, by PVH: to unpack itself it would take longer than all the rest
    Case("linux-pvh-amd64", "bochs", mem="1G", updates=3, interval=500, prepare=setup,
        guests=[control(12000), linux("quiet molt.seconds=4", mem="512M", kernel="vmlinux-amd64")],
        checks=[all_exited("control", "linux"), passed("linux", LOAD), no_complaints("linux"),
                *UPDATED, updated_under_load(1, "linux")],
        timeout=240, seconds=35),
    # updates from the first instruction on
    Case("linux-updates-from-boot", "bochs", mem="512M", updates=20, interval=400, prepare=setup,
        guests=[CONTROL, linux("quiet molt.seconds=2")],
        checks=[all_exited("control", "linux"), passed("linux", LOAD), no_complaints("linux"),
                *UPDATED],
        timeout=240, seconds=30),
    Case("linux-updates", "bochs", mem="768M", updates=20, interval=300, prepare=setup,
        guests=[control(30000), WORKER, *TWO_LINUX],
        checks=[all_exited("control", "worker", "linux1", "linux2"), passed("linux1", LOAD),
                passed("linux2", LOAD), no_complaints("linux1", "linux2"), *UPDATED,
                updated_under_load(20, "linux1", "linux2")],
        timeout=300, seconds=60),
    # it unpacks itself
    Case("linux-bzimage-amd64", "bochs", mem="1G", updates=20, interval=8000, prepare=setup,
        guests=[CONTROL, linux("molt.seconds=10", mem="512M", kernel="vmlinuz-amd64")],
        checks=[all_exited("control", "linux"), passed("linux", LOAD), no_complaints("linux"),
                *UPDATED],
        timeout=900, soak=True),
]

SEVERAL_CPUS = True
if SEVERAL_CPUS:
    CASES += [
        Case("linux-updates-2-cpus", "bochs", cpus=2, mem="768M", updates=20, interval=200,
            prepare=setup, guests=[control(22000), WORKER, *TWO_LINUX],
            checks=[all_exited("control", "worker", "linux1", "linux2"), passed("linux1", LOAD),
                    passed("linux2", LOAD), no_complaints("linux1", "linux2"), *UPDATED,
                    updated_under_load(20, "linux1", "linux2")],
            timeout=400, seconds=80),
        Case("linux-smp-2-cpus", "bochs", cpus=2, mem="768M", updates=20, interval=300,
            prepare=setup,
            guests=[control(15000), linux("quiet molt.seconds=14 molt.cpus=2", vcpus=2)],
            checks=[all_exited("control", "linux"), passed("linux", SMP), no_complaints("linux"),
                    *UPDATED, updated_under_load(20, "linux")],
            timeout=400, seconds=80),
        Case("linux-smp-1-cpu", "bochs", mem="512M", updates=3, interval=500, prepare=setup,
            guests=[control(17500), linux("quiet molt.seconds=5 molt.cpus=2", vcpus=2)],
            checks=[all_exited("control", "linux"), passed("linux", SMP), no_complaints("linux"),
                    *UPDATED, updated_under_load(1, "linux")],
            timeout=240, seconds=30),
    ]


@pytest.mark.parametrize("case", map(parameter, CASES))
def test_linux(case, case_run):
    case_run.expect(case.fails)
    for check in case.checks:
        check(case_run)
