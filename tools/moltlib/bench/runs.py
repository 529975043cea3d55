# SPDX-License-Identifier: Apache-2.0
"""Runs of molt on emulators, and the figures that they give."""

import os
import re
import subprocess
from pathlib import Path

from moltlib import cpio, options, series
from moltlib.bench.figure import BOCHS, EXITS, TCG, Failed, Figure, spread
from moltlib.log import PHASES, Log

MOLT = os.path.join(options.ROOT, "tools", "molt")
LINUX = os.path.join(options.BUILD, "linux")
KERNEL = os.path.join(LINUX, "vmlinuz")
INITRAMFS = os.path.join(LINUX, "initramfs.cpio")
# quiet: without molt Linux waits for the serial port, which would count against it.
LINUX_CMDLINE = "console=ttyS0,115200 quiet nokaslr mitigations=off cryptomgr.notests"
LINUX_MACHINE = "768M"
INTERVAL_MS = 20
LIMIT = 900  # seconds for one run

CONTROL = "guests/control.elf,name=control,mem=64M,control"
# They sleep most of the time: what a pause does for a guest does not depend on that, but how long
# it takes to come to 100 updates does.
OTHERS = [f"guests/hello.elf,name=hello{n},mem=64M" for n in range(1, 5)]

BOOT = re.compile(r"boot: (\d+) cycles to the first guest")
INIT = re.compile(r"init: tsc=(\d+)", re.MULTILINE)
EXIT = re.compile(r"exit (\w+) min=(\d+) max=(\d+)", re.MULTILINE)
_ENTERED = re.compile(r"command line: .*\bboot_tsc=(0x[0-9a-f]+)")
_COUNTS = re.compile(r"exits linux (total=.*) cycles=")

# /init of a Linux that replaces molt again and again. That keeps one CPU of the host busy, and
# loops of the shell keep the others so.
_UPDATER = """#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
exec </dev/ttyS0 >/dev/ttyS0 2>&1
n={busy}
while [ $n -gt 0 ]; do
    while :; do :; done &
    n=$((n - 1))
done
while [ $n -lt {updates} ]; do
    image=/lib/molt/molt-next.elf
    [ $((n % 2)) = 0 ] || image=/lib/molt/molt.elf
    moltctl update $image >/tmp/update 2>&1 || echo "FAIL: update: $(tail -n 1 /tmp/update)"
    n=$((n + 1))
done
poweroff -f
"""
_UPDATER_APPLETS = "sh mount tail poweroff".split()


def molt_run(workdir, words):
    """The Log of a good run of `tools/molt run` with these options."""
    serial = os.path.join(workdir, "molt.log")
    command = [MOLT, "run", "--serial", serial, "--timeout", str(LIMIT), *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        raise Failed(f"{' '.join(words)}\n{done.stderr.strip()}")
    return Log.read(serial)


def on_bochs(mem, guests, *words):
    """Options of a run on Bochs; guests as in --guest, files in build/."""
    command = ["--engine", "bochs", "--mem", mem, *words]
    for guest in guests:
        command += ["--guest", os.path.join(options.BUILD, guest)]
    return command


def first(pattern, lines, what):
    """The match of a pattern in the first line that has one."""
    for match in map(pattern.search, lines):
        if match:
            return match
    raise Failed(f"the log does not say {what}")


def boot_cycles(log):
    return int(first(BOOT, log.molt, "how long the boot took").group(1))


def phase_figures(name, log):
    """Blackout and its phases; the blackout in each direction too."""
    if not log.ok:
        raise Failed("no update was made")
    parts = {"blackout": [update.blackout for update in log.ok]}
    for phase in PHASES:
        parts[phase] = [update.phases[phase] for update in log.ok]
    for update in log.ok:
        ends = [text.partition("/")[0] for text in (update.source, update.target)]
        parts.setdefault("blackout, {} to {}".format(*ends), []).append(update.blackout)
    return [spread("blackout", f"{name}: {part}", BOCHS, values) for part, values in parts.items()]


def updates_of_guests(workdir, name, mem, guests, count):
    words = ["--updates", str(count), "--interval", str(INTERVAL_MS)]
    log = molt_run(workdir, on_bochs(mem, guests, *words))
    figures = phase_figures(name, log)
    return figures, log


def control(workdir, count):
    figures, log = updates_of_guests(workdir, "1 small guest", "512M", [CONTROL], count)
    return [*figures, Figure("boot", "molt, GRUB to first guest", BOCHS, boot_cycles(log))]


def five(workdir, count):
    return updates_of_guests(workdir, "5 small guests", "768M", [CONTROL, *OTHERS], count)[0]


def _updater(workdir, busy, count):
    """An initramfs whose /init makes so many updates; its path."""
    names = ("bin", "dev", "lib", "lib/molt", "proc", "sys", "tmp")
    files = [*map(cpio.directory, names), cpio.console()]
    files.append(cpio.program("init", _UPDATER.format(busy=busy, updates=count).encode()))
    programs = {"bin/busybox": os.path.join(LINUX, "busybox"),
                "bin/moltctl": os.path.join(options.BUILD, "moltctl"),
                "lib/molt/molt.elf": options.MOLT, "lib/molt/molt-next.elf": options.MOLT_NEXT}
    files += [cpio.program(name, Path(path).read_bytes()) for name, path in programs.items()]
    files += [cpio.link("bin/" + name, "busybox") for name in _UPDATER_APPLETS]
    path = Path(workdir, "updater.cpio")
    cpio.write(path, files)
    return path


def _linux_updates(workdir, vcpus, cpus, count):
    """The Log of a Linux that makes updates, the only guest."""
    guest = (f"{KERNEL},name=linux,mem=256M,vcpus={vcpus},control,"
             f"module={_updater(workdir, cpus - 1, count)},cmdline={LINUX_CMDLINE}")
    words = ["--cpus", str(cpus), "--image", options.MOLT]
    log = molt_run(workdir, on_bochs(LINUX_MACHINE, [guest], *words))
    if len(log.ok) != count:
        raise Failed(f"{len(log.ok)} updates, not {count}")
    return log


def linux_updates(workdir, vcpus, cpus, count):
    text = f"Linux, {vcpus} vCPU on {cpus} CPU"
    return phase_figures(text, _linux_updates(workdir, vcpus, cpus, count))


def by_vcpus(workdir, vcpus, count):
    values = [update.blackout for update in _linux_updates(workdir, vcpus, 1, count).ok]
    return [spread("vcpus", f"Linux of {vcpus} vCPUs on 1 CPU: blackout", BOCHS, values, x=vcpus)]


def by_ram(workdir, gib, count):
    log = molt_run(workdir, series.ram(gib, updates=count))
    values = [update.blackout for update in log.ok]
    return [
        spread("ram", f"{gib} GiB: blackout", TCG, values, x=gib),
        Figure("ram", f"{gib} GiB: boot, GRUB to first guest", TCG, boot_cycles(log), x=gib),
    ]


def by_extents(workdir, pages, mem, region, count):
    log = molt_run(workdir, series.extents(pages, mem, region, updates=count))
    values = [update.blackout for update in log.ok]
    return [spread("extents", f"{pages:,} extents: blackout", TCG, values, x=pages)]


EXIT_NAMES = {
    "cpuid": "CPUID", "out": "OUT to an unused port", "mmio": "read of an I/O APIC register",
    "self": "IPI to itself, until its handler ran", "vmcall": "VMCALL, unknown number",
    "info": "VMCALL, HC_INFO", "ipi": "IPI to another CPU, until its handler ran",
}


def exit_figures(lines, who, names=None):
    """Figures of the guest `exits`: what a round trip costs more than the loop around it."""
    found = {name: int(low) for name, low, _ in EXIT.findall("\n".join(lines))}
    if "none" not in found:
        raise Failed("the guest has measured nothing")
    empty = found.pop("none")
    return [Figure("exits", f"{who}: {EXIT_NAMES[name]}", BOCHS, cost - empty)
            for name, cost in found.items() if names is None or name in names]


def exits(workdir, cpus):
    """With 2 CPUs only what needs them."""
    guest = f"guests/exits.elf,name=exits,mem=64M,vcpus={cpus},cmdline=apic=x2apic vcpus={cpus}"
    log = molt_run(workdir, on_bochs("512M", [guest], "--cpus", str(cpus)))
    return exit_figures(log.guests["exits"], "molt", ("ipi",) if cpus > 1 else None)


def linux_boot(workdir):
    """Linux as a guest: from molt's first instruction to /init, and its exits to power-off."""
    guest = f"{KERNEL},name=linux,mem=256M,module={INITRAMFS},cmdline={LINUX_CMDLINE}"
    log = molt_run(workdir, on_bochs(LINUX_MACHINE, [guest]))
    entered = int(first(_ENTERED, log.molt, "when molt was entered").group(1), 16)
    # A guest's TSC is the host's as long as it has not written it, and Linux does not.
    init = int(first(INIT, log.guests["linux"], "when /init began").group(1))
    counts = first(_COUNTS, log.molt, "how many exits there were").group(1)
    figures = [Figure("linux", "under molt, GRUB to /init", BOCHS, init - entered)]
    for word in counts.split():
        kind, _, count = word.partition("=")
        figures.append(Figure("linux", f"exits to power-off: {kind}", EXITS, int(count)))
    return figures
