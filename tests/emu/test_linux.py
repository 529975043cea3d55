# SPDX-License-Identifier: Apache-2.0
"""Debian's Linux as a guest: unmodified, under a load that checks itself (see tests/linux/)."""

import functools
import os
import subprocess
import threading

import pytest
from conftest import BOCHS, ROOT, SVM, Case, both, built
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


def blackout_at_most(instructions):
    """On Bochs, where the TSC counts them."""

    def check(run):
        worst = max(run.log.ok, key=lambda update: update.blackout)
        assert worst.blackout <= instructions, f"n={worst.n}: {worst.blackout}\n{run.describe()}"

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


def two_linux(seconds):
    """Both under load for so long; a run ends 20 s after the control guest's updates."""
    return [linux(f"quiet molt.seconds={seconds}", name=name) for name in ("linux1", "linux2")]


# Where time is the host's, nobody knows when a load has begun: updates go on until it is over.
def while_loaded(updates, interval=1500):
    return {"updates": updates, "interval": interval, "append": "end=all"}


def two_guests(name, delay, seconds, updates, **more):
    """Beside an idle one; updates from `delay` ms on, all of them while both have load."""
    checks = [all_exited("control", "linux1", "linux2"), passed("linux1", LOAD),
              passed("linux2", LOAD), no_complaints("linux1", "linux2"), *UPDATED]
    return both(name, mem="768M", prepare=setup, timeout=400, seconds=60, updates=updates, **more,
                guests=[control(delay), WORKER, *two_linux(seconds)],
                checks=[*checks, all_exited("worker"),
                        updated_under_load(updates, "linux1", "linux2")],
                svm={**while_loaded(18, 2000), "guests": [CONTROL, *two_linux(8)],
                     "checks": [*checks, updated_under_load(1, "linux1", "linux2")]})


def several_vcpus(name, delay, seconds, updates, least=None, **more):
    """Two that talk to each other; the same."""
    checks = [all_exited("control", "linux"), passed("linux", SMP), no_complaints("linux"),
              *UPDATED]
    return both(name, mem="768M", prepare=setup, timeout=400, seconds=60, updates=updates, **more,
                guests=[control(delay),
                        linux(f"quiet molt.seconds={seconds} molt.cpus=2", vcpus=2)],
                checks=[*checks, updated_under_load(least or updates, "linux")],
                svm={**while_loaded(14), "guests": [
                    CONTROL, linux("quiet molt.seconds=12 molt.cpus=2", vcpus=2)],
                     "checks": [*checks, updated_under_load(1, "linux")]})


CASES = [
    # a boot with all messages; nothing is probed that is not there
    *both("linux-power-off", mem="512M", guests=[linux()], prepare=setup,
          checks=[all_exited("linux"), passed("linux", KERNEL), no_complaints("linux"),
                  says("linux", "clockevent=lapic-deadline handler=hrtimer_interrupt apic=x2apic"),
                  # SVM has no masks for CR0 and CR4: each write exits.
                  exits_at_most("linux", **dict(EXITS, io=40000, cr=100)),
                  says("linux", "reboot: Power down")],
          seconds=12),
    # the other timers, clocks and APIC modes; PVH
    *both("linux-modes", mem="768M", prepare=setup,
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
          timeout=240, seconds=30),
    # the ordinary kernel, by PVH: to unpack itself it would take longer than all the rest
    *(Case("linux-pvh-amd64", engine, mem="1G", prepare=setup, **words,
           checks=[all_exited("control", "linux"), passed("linux", LOAD), no_complaints("linux"),
                   *UPDATED, updated_under_load(1, "linux")], timeout=360, seconds=30)
      for engine, words in (
          (BOCHS, {"updates": 3, "interval": 500, "soak": True, "guests": [
              control(12000), linux("quiet molt.seconds=4", mem="512M", kernel="vmlinux-amd64")]}),
          (SVM, {**while_loaded(14), "guests": [
              CONTROL, linux("quiet molt.seconds=6", mem="512M", kernel="vmlinux-amd64")]}))),
    # updates from the first instruction on
    *both("linux-updates-from-boot", mem="512M", updates=20, interval=400, prepare=setup,
          guests=[CONTROL, linux("quiet molt.seconds=2")],
          checks=[all_exited("control", "linux"), passed("linux", LOAD), no_complaints("linux"),
                  *UPDATED],
          exact=[blackout_at_most(200_000)], timeout=240, seconds=25, svm={
              "append": "end=all", "guests": [CONTROL, linux("quiet molt.seconds=6")]}),
    Case("linux-updates", SVM, "uefi", mem="768M", prepare=setup, **while_loaded(14),
         guests=[CONTROL, linux("quiet molt.seconds=6")],
         checks=[all_exited("control", "linux"), passed("linux", LOAD), no_complaints("linux"),
                 *UPDATED, updated_under_load(1, "linux")],
         timeout=240, seconds=30),
    # two guests, an idle one, one and two CPUs
    *two_guests("linux-updates", 28500, 16, updates=10, interval=20),
    two_guests("linux-updates-long", 28500, 28, updates=20, interval=20, soak=True)[0],
    *two_guests("linux-updates-2-cpus", 14000, 6, updates=5, interval=200, cpus=2),
    two_guests("linux-updates-2-cpus-long", 14000, 16, updates=20, interval=200, cpus=2,
               soak=True)[0],
    # several vCPUs; Bochs takes a minute for 20 updates
    *several_vcpus("linux-smp-2-cpus", 10500, 6, updates=4, interval=300, cpus=2),
    several_vcpus("linux-smp-long", 15000, 36, updates=20, interval=300, cpus=2, soak=True)[0],
    *several_vcpus("linux-smp-1-cpu", 17500, 5, updates=3, interval=500, least=1),
    # (with fewer CPUs than vCPUs an interrupt's handler may have to wait for its vCPU's turn)
    *both("linux-smp-4-vcpus", cpus=2, mem="512M", updates=5, interval=300, prepare=setup,
          guests=[control(11000), linux("quiet molt.seconds=7 molt.cpus=4 molt.late=2", vcpus=4)],
          checks=[all_exited("control", "linux"), passed("linux", SMP), no_complaints("linux"),
                  *UPDATED, updated_under_load(1, "linux")],
          exact=[updated_under_load(3, "linux"), blackout_at_most(400_000)],
          timeout=400, seconds=60,
          svm={**while_loaded(14), "guests": [
              CONTROL, linux("quiet molt.seconds=16 molt.cpus=4", vcpus=4)]}),
    # it unpacks itself
    Case("linux-bzimage-amd64", "bochs", mem="1G", updates=20, interval=8000, prepare=setup,
        guests=[CONTROL, linux("molt.seconds=10", mem="512M", kernel="vmlinuz-amd64")],
        checks=[all_exited("control", "linux"), passed("linux", LOAD), no_complaints("linux"),
                *UPDATED],
        timeout=900, soak=True),
]


@pytest.mark.parametrize("case", map(parameter, CASES))
def test_linux(case, case_run):
    case_run.expect(case.fails)
    for check in case.checks:
        check(case_run)
