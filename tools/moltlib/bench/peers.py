# SPDX-License-Identifier: Apache-2.0
"""What others take for the same on the same emulator: Linux alone, kexec, Xen."""

import gzip
import os
import shutil
import subprocess
from pathlib import Path

from moltlib import cpio, options
from moltlib.bench import bochs, packages
from moltlib.bench.figure import BOCHS, BOCHS_KVM, Failed, Figure
from moltlib.bench.runs import (
    EXIT_NAMES, INIT, INITRAMFS, KERNEL, LINUX, LINUX_CMDLINE, LINUX_MACHINE,
)
from moltlib.iso import words

LIMIT = 900  # seconds
NESTED = os.path.join(options.ROOT, "tests", "nested", "run")
# Where GRUB puts a relocatable bzImage: the preferred address of Debian's kernels.
LINUX_ENTRY = 0x1000000
XEN_ENTRY = 0x200000

# /init of a Linux that starts another one.
_KEXEC_INIT = """#!/bin/sh
export PATH=/bin LD_LIBRARY_PATH=/lib
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
kexec {options} -l /vmlinuz --initrd=/initramfs.cpio --command-line="{cmdline}"
echo "kexec: $(load tsc)"
kexec -e
"""
_KEXEC_UNTIL = r"^kexec: tsc=(\d+)[\s\S]*^init: tsc=(\d+)"
# Xen prints the TSC in front of each line. After the first of these dom0 is made, after the second
# it runs.
_XEN_UNTIL = (r"^\(XEN\) \[([0-9a-f]{16})\] d0 has maximum[\s\S]*"
              r"^\(XEN\) \[([0-9a-f]{16})\] Freed \d+kB init memory")


def _linux(workdir, initramfs, until):
    lines = [f"linux /boot/vmlinuz {words(LINUX_CMDLINE)}", "initrd /boot/initramfs"]
    files = {"vmlinuz": KERNEL, "initramfs": initramfs}
    mem = options.size_bytes(LINUX_MACHINE)
    return bochs.run(workdir, "linux", lines, files, mem, LINUX_ENTRY, until, LIMIT)


def linux(workdir):
    """Linux without molt: from the kernel's first instruction to /init."""
    entered, init = _linux(workdir, INITRAMFS, INIT.pattern)
    return [Figure("linux", "alone, GRUB to /init", BOCHS, int(init.group(1)) - entered)]


def _kexec_initramfs(workdir, switches):
    init = _KEXEC_INIT.format(options=switches, cmdline=LINUX_CMDLINE)
    files = [cpio.directory(name) for name in ("bin", "dev", "lib", "lib64", "proc", "sys")]
    files += [cpio.console(), cpio.program("init", init.encode())]
    programs = {"bin/busybox": os.path.join(LINUX, "busybox"),
                "bin/load": os.path.join(LINUX, "load"), "vmlinuz": KERNEL,
                "initramfs.cpio": INITRAMFS, **packages.kexec()}
    files += [cpio.program(name, Path(path).read_bytes()) for name, path in programs.items()]
    files += [cpio.link("bin/" + name, "busybox") for name in ("sh", "mount")]
    path = Path(workdir, "kexec.cpio")
    cpio.write(path, files)
    return path


def kexec(workdir, name, switches):
    """From `kexec -e` to /init of the second kernel, which is loaded already."""
    found = _linux(workdir, _kexec_initramfs(workdir, switches), _KEXEC_UNTIL)[1]
    asked, init = map(int, found.groups())
    return [Figure("boot", f"Linux, kexec -e to /init, {name}", BOCHS, init - asked)]


def xen(workdir):
    """From GRUB to where Xen begins to make dom0, and to where it has done so.

    By multiboot 1: GRUB's multiboot2 loader switches to graphics for Xen and ends in a triple fault
    on Bochs.
    """
    packed = os.path.join(packages.unpacked(packages.XEN), "boot", "xen-4.17-amd64.gz")
    plain = os.path.join(workdir, "xen")
    with gzip.open(packed, "rb") as source, open(plain, "wb") as target:
        shutil.copyfileobj(source, target)
    lines = ["multiboot /boot/xen placeholder com1=115200,8n1 console=com1"
             " console_timestamps=raw dom0_mem=128M", "module /boot/vmlinuz placeholder"]
    files = {"xen": plain, "vmlinuz": KERNEL}
    mem = options.size_bytes("512M")
    entered, done = bochs.run(workdir, "multiboot", lines, files, mem, XEN_ENTRY, _XEN_UNTIL,
                              LIMIT)
    names = ("Xen, GRUB to where it makes dom0", "Xen, GRUB to where dom0 begins")
    return [Figure("boot", name, BOCHS, int(tsc, 16) - entered)
            for name, tsc in zip(names, done.groups())]


_WHO = {"kvm": "KVM", "molt": "molt under KVM"}


def nested_figures(text):
    """Figures from `tests/nested/run --exits`: what exits cost under KVM, and under molt in it."""
    for line in text.splitlines():
        who, _, rest = line.partition(": ")
        for word in rest.split() if who in _WHO else ():
            kind, _, cost = word.partition("=")
            if kind in ("cpuid", "out", "mmio", "self"):
                name = f"{_WHO[who]}: {EXIT_NAMES[kind]}"
                yield Figure("exits", name, BOCHS_KVM, int(cost))


def nested(_workdir):
    done = subprocess.run([NESTED, "--engine", "bochs", "--exits"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"nested KVM: {done.stderr.strip()}")
    return list(nested_figures(done.stdout))
