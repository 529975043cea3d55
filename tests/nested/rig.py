# SPDX-License-Identifier: Apache-2.0
"""molt under real nested KVM without hardware for it.

Level 0 is an emulator with VMX (Bochs) or SVM (QEMU's TCG), level 1 Debian's Linux with KVM and
QEMU, level 2 molt or whatever else an ISO boots, level 3 molt's guests. `make nested` gathers level
1; one boot of it runs any number of cases.
"""

import contextlib
import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
if os.path.join(ROOT, "tools") not in sys.path:
    sys.path.insert(0, os.path.join(ROOT, "tools"))

# Found through the line above.
from moltlib import console, cpio, emulator, iso, options  # noqa: E402
from moltlib.log import Log  # noqa: E402
from moltlib.verdict import Outcome, judge  # noqa: E402

import pvh  # noqa: E402

NESTED = os.path.join(ROOT, "build", "nested")
MEM_BYTES = 1 << 30
# Bochs: the newest model whose TSC runs as fast as its CPUID says. TCG: without XSAVE, since it
# cannot intercept XSETBV, and so KVM would not learn what guests write.
CPU_MODELS = {"bochs": "broadwell_ult", "tcg": "max,-xsave"}
# Nothing of what these do is needed, and in Bochs they would take seconds.
NO_INITCALLS = (
    "init_kprobe_trace,crypto_kdf108_init,cubictcp_register,slab_sysfs_init,"
    "load_system_certificate_list"
)
CMDLINE = (
    "console=ttyS1,115200 quiet panic=-1 mitigations=off cryptomgr.notests init_on_alloc=0 audit=0 "
    f"ipv6.disable=1 initcall_blacklist={NO_INITCALLS}"
)
# Virtual time goes with the instructions, 2 ns for each: the load of this machine is not seen.
TCG_CLOCK = "shift=1,sleep=off"
LIMIT = 60  # seconds of a case, on level 1's clock
LEVEL1_LIMIT = 120  # real seconds of level 1 itself
SLOWNESS = 3  # real seconds that a second on level 1's clock may take
_KILLED = 137  # what `timeout -s KILL` makes of it

_OWN = re.compile(rb"level1: (\w+) ?(.*)")


class Failed(Exception):
    """Level 1 did not do its part; the text says what is missing."""


@dataclass
class Case:
    """One run of QEMU in level 1."""

    name: str  # letters, digits, -
    iso: str
    cpus: int = 1
    mem_bytes: int = 320 << 20
    limit: int = LIMIT


@dataclass
class Result:
    """What came of a case."""

    name: str
    log: Log = field(default_factory=Log)
    text: bytes = b""  # its console
    outcome: Outcome = None
    errors: list = field(default_factory=list)  # what QEMU said
    seconds: float = 0  # on level 1's clock

    def judge(self, updates=None, guests=()):
        return judge(self.log, self.outcome, updates, guests)


class Level1:
    """COM1 of level 1, taken apart while it grows: what a console.Relay calls a log."""

    def __init__(self):
        self.results = []
        self.facts = {}  # what it said of itself: "up", "cpuinfo", "nested", "cpuid", "over", ...
        self.complaints = []  # of its kernel
        self.failures = []
        self.last = ""
        self.panicked = False  # of level 2: its own limit ends that
        self._partial = b""
        self._running = None
        self._began = 0.0

    def feed(self, data):
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._line(line)
        return len(lines)

    def finish(self):
        if self._running:
            self._running.outcome = Outcome("broken", "level 1 ended before it")
            self._end()

    def _line(self, line):
        self.last = line.decode("utf-8", "replace").strip() or self.last
        own = _OWN.fullmatch(line.rstrip(b"\r"))
        if own:
            self._own(own.group(1).decode(), own.group(2).decode("utf-8", "replace"))
        elif self._running:
            self._running.text += line + b"\n"
            self._running.log.feed(line + b"\n")

    def _own(self, word, text):
        if word == "begin":
            name, began = text.split()
            self._running = Result(name)
            self._began = float(began)
        elif word == "error":
            self._running.errors += [] if "warning: " in text else [text]
        elif word == "end":
            code, ended = text.split()
            self._running.seconds = float(ended) - self._began
            self._running.outcome = _outcome(int(code), "\n".join(self._running.errors))
            self._end()
        elif word == "kernel":
            self.complaints.append(text)
        elif word == "failure":
            self.failures.append(text)
        else:
            self.facts[word] = text

    def _end(self):
        self._running.log.finish()
        self.results.append(self._running)
        self._running = None


def _outcome(code, errors):
    if code == _KILLED:
        return Outcome("timeout", "the case's time limit was reached")
    return emulator.qemu_outcome(code, errors)


def make():
    """Gathers what level 1 is made of, unless it is there."""
    done = subprocess.run(
        ["make", "-s", "nested"], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False,
    )
    if done.returncode:
        raise Failed(f"make nested: {done.stdout.strip()}")


def _read(name):
    with open(os.path.join(NESTED, name), "rb") as file:
        return file.read()


def _case_files(case):
    """/cases/NAME of a Case: the command line is the one of `tools/molt run --engine kvm`."""
    where = f"cases/{case.name}"
    machine = emulator.Machine(
        engine="kvm", iso=f"/{where}/iso", cpus=case.cpus, mem_bytes=case.mem_bytes
    )
    command = emulator.qemu_command(machine, "/tmp", ["-serial", "stdio"])
    yield cpio.directory(where)
    yield cpio.plain(f"{where}/run", f"exec {shlex.join(command)}\n".encode())
    yield cpio.plain(f"{where}/limit", f"{case.limit}\n".encode())
    with open(case.iso, "rb") as file:
        yield cpio.plain(f"{where}/iso", file.read())


def _machine(engine, cases, workdir):
    """Level 0, with the cases in it."""
    archives = [_read("base.cpio"), cpio.archive([f for case in cases for f in _case_files(case)])]
    machine = emulator.Machine(
        engine=engine, iso="", mem_bytes=MEM_BYTES, cpu_model=CPU_MODELS[engine]
    )
    kernel_log = os.path.join(workdir, "kernel.log")
    if engine == "bochs":
        path = os.path.join(workdir, "disk")
        kernel = _read("vmlinux")
        cylinders = pvh.write(path, kernel, CMDLINE, archives, MEM_BYTES)
        machine.disk = (path, cylinders)
        machine.bochsrc = [f"com2: enabled=1, mode=file, dev={kernel_log}"]
        return machine
    initrd = os.path.join(workdir, "initrd")
    with open(initrd, "wb") as file:
        file.write(b"".join(archives))
    kernel = os.path.join(NESTED, "vmlinux")
    machine.qemu_args = ["-serial", f"file:{kernel_log}", "-icount", TCG_CLOCK]
    machine.qemu_args += ["-kernel", kernel, "-initrd", initrd, "-append", CMDLINE]
    return machine


def _kernel_log(workdir):
    try:
        with open(os.path.join(workdir, "kernel.log"), encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def run(engine, cases, serial=None):
    """Runs Cases under one boot of level 1 on "bochs" or "tcg"; returns its Level1, which has a
    Result of each case, in the order of their names.

    serial: a binary file for all of the console. Failed if not all cases had their turn.
    """
    make()
    level1 = Level1()
    limit = LEVEL1_LIMIT + SLOWNESS * sum(case.limit for case in cases)
    with contextlib.ExitStack() as stack:
        workdir = stack.enter_context(tempfile.TemporaryDirectory(prefix="molt-"))
        level0 = emulator.create(_machine(engine, cases, workdir), workdir)
        stack.callback(level0.close)
        level0.start()
        nowhere = stack.enter_context(open(os.devnull, "wb"))
        relay = console.Relay(level0, level1, serial, limit, output=nowhere.fileno())
        outcome = relay.run()
        kernel_log = _kernel_log(workdir)
    if "over" not in level1.facts or level1.failures:
        seen = [f"{outcome.kind} {outcome.text}", *level1.failures, f"last: {level1.last}"]
        raise Failed(f"level 1 on {engine}: " + "; ".join(seen) + "\n" + kernel_log)
    return level1


_EXIT = re.compile(r"exit (\w+) min=(\d+) max=(\d+)")


def _exits(lines):
    """Cycles that each kind of exit costs, the loop around it taken off."""
    found = {}
    for line in lines:
        match = _EXIT.fullmatch(line)
        if match:
            found[match.group(1)] = int(match.group(2))
    empty = found.pop("none", 0)
    return {kind: cost - empty for kind, cost in found.items()}


def exit_costs(engine):
    """{"kvm": {kind: cycles}, "molt": {kind: cycles}}: what ways out of a guest and back cost at
    level 2 under level 1's KVM alone, and at level 3 under molt in it. Under Bochs a cycle is an
    instruction of level 0.
    """
    payload = os.path.join(ROOT, "build", "guests", "exits.elf")
    with tempfile.TemporaryDirectory(prefix="molt-") as workdir:
        alone, under = (os.path.join(workdir, name) for name in ("kvm", "molt"))
        os.mkdir(alone)
        iso.build_payload(payload, "", alone + ".iso", alone)
        boot = options.Boot(guests=[options.Guest(payload, "exits")])
        iso.build(boot, under + ".iso", under, "bios")
        cases = [Case(os.path.basename(path), path + ".iso") for path in (alone, under)]
        kvm, molt = run(engine, cases).results
    for result in (kvm, molt):
        if result.outcome.kind != "ok":
            raise Failed(f"exits under {result.name}: {result.outcome}\n{result.text.decode()}")
    return {"kvm": _exits(kvm.log.lines), "molt": _exits(molt.log.guests["exits"])}
