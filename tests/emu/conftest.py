# SPDX-License-Identifier: Apache-2.0
"""Runs of tools/molt for the tests.

The cases of test_cases.py start ahead in the background, longest first, at most SLOTS emulators at
once whoever asked for them; a test then waits for its run and looks at it. Every console log stays
in build/emu/. The results go to build/emu/results.xml as well, unless --junitxml names a file.
"""

import concurrent.futures
import contextlib
import os
import random
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import pexpect
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))

from moltlib.emulator import BOCHS_DATE  # noqa: E402  (found through the line above)
from moltlib.log import Log  # noqa: E402

MOLT = os.path.join(ROOT, "tools", "molt")
LOGS = os.path.join(ROOT, "build", "emu")
SLOTS = (os.cpu_count() or 2) + 1  # those that wait, for time or keys, leave a CPU idle
GRACE = 30  # seconds that the runner may take beyond its own time limit

_slots = threading.BoundedSemaphore(SLOTS)
_children = set()
_ending = threading.Event()


def built(name):
    """Path of something that make builds."""
    return os.path.join("build", name)


_random_files = {}


def random_module(seed, mib):
    """module=FILE for --guest: random bytes, written when the cases start, the same each time."""
    path = os.path.join("build", "emu", f"random{seed}.bin")
    _random_files[path] = (seed, mib)
    return "module=" + path


def _write_random_files():
    os.makedirs(LOGS, exist_ok=True)
    for path, (seed, mib) in _random_files.items():
        with open(os.path.join(ROOT, path), "wb") as file:
            file.write(random.Random(seed).randbytes(mib << 20))


BOCHS = "bochs"
SVM = "svm"  # an engine of the tests: QEMU's TCG with its SVM; "tcg" is the same without
TCG = "tcg"
LATE = 30  # seconds: what else the host does decides there


# QEMU's clock begins where Bochs's does.
AT_DATE = ["--qemu-arg=-rtc", "--qemu-arg=base="
           + time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(BOCHS_DATE))]


def for_svm(value):
    """A --guest that leaves out what QEMU does not do as a CPU would, and that may be late."""
    options, _, cmdline = value.partition(",cmdline=")
    words = "engine=tcg"
    if not value.partition(",")[0].endswith(".elf"):
        words = f"molt.late={LATE} tsc=reliable"
    return f"{options},cmdline={words} {cmdline}".rstrip()


def is_molt(words):
    """It is molt that is booted, and not a payload of the tests."""
    return all(os.path.basename(path).startswith("molt")
               for option, path in zip(words, words[1:]) if option == "--molt")


def engine_options(options):
    """--engine svm and --engine tcg as the runner has them; Bochs without GRUB where it can."""
    words = list(options)
    at = words.index("--engine") + 1 if "--engine" in words else 0
    if words[at] == TCG:
        return [*words, "--no-vmx"]
    if words[at] == BOCHS and not {"--boots", "--append-again", "--iso"} & set(words):
        return [*words, "--no-grub"] if is_molt(words) else words
    if words[at] == SVM:
        words[at] = "tcg"
        words = [for_svm(word) if before == "--guest" else word
                 for before, word in zip(["", *words], words)]
        words += AT_DATE
    return words


# A second that an update may take is the host's time in QEMU, and the host may be busy. Cases of
# faults that cost a deadline have their own.
PATIENT = "lu_deadline=10000"


@dataclass
class Case:
    """One run of `tools/molt run`, and what is expected of it."""

    name: str
    engine: str
    firmware: str = "bios"
    cpus: int = 1
    mem: str = "512M"
    guests: list = field(default_factory=list)  # values of --guest
    images: list = field(default_factory=list)
    append: str = ""
    updates: int = None
    interval: int = None
    resets: int = 0  # of the machine, by itself or by --reset-at
    extra: list = field(default_factory=list)  # more options
    timeout: int = 60
    fails: set = frozenset()  # keys of the failures that must be reported, exactly these
    checks: list = field(default_factory=list)  # functions that take the Run
    seconds: int = 5  # about how long it takes: long ones start first
    prepare: object = None  # function to call before; it raises RuntimeError if it cannot
    soak: bool = False  # only for `tests/run soak`

    def __post_init__(self):
        if self.engine != BOCHS and "end" in self.fails:
            self.fails = self.fails | {"machine:failed"}  # QEMU says how molt has ended

    def __str__(self):
        firmware = "" if self.firmware == "bios" else "-" + self.firmware
        return f"{self.engine}{firmware}-{self.name}"

    def options(self):
        words = ["--engine", self.engine, "--firmware", self.firmware, "--cpus", str(self.cpus)]
        words += ["--mem", self.mem, "--timeout", str(self.timeout)]
        for guest in self.guests:
            words += ["--guest", guest]
        if not self.guests:
            words.append("--no-guests")
        for image in self.images:
            words += ["--image", image]
        append = self.append
        if self.engine == SVM and not re.search(r"\b(lu_deadline|fault)=", append):
            append = f"{PATIENT} {append}".rstrip()
        if append:
            words += ["--append", append]
        if self.updates is not None:
            words += ["--updates", str(self.updates)]
        if self.interval is not None:
            words += ["--interval", str(self.interval)]
        if self.resets:
            words += ["--boots", str(1 + self.resets)]
        return words + self.extra


def both(name, svm=None, exact=(), **common):
    """The same case on both virtualizations: Bochs with VMX, QEMU's TCG with SVM. `svm`: what is
    different there; `exact`: more checks for Bochs, whose TSC counts instructions."""
    other = {"seconds": common.get("seconds", 5) // 2 + 2,
             "timeout": common.get("timeout", 60) + 120}
    on_bochs = {"checks": [*common.get("checks", ()), *exact]}
    return [Case(name, BOCHS, **common | on_bochs),
            Case(name, SVM, **common | other | (svm or {}))]


@dataclass
class Run:
    """A finished run."""

    name: str
    code: int
    output: str  # stdout
    messages: str  # stderr: what the runner itself says
    log: Log
    seconds: float

    @property
    def keys(self):
        """Keys of the failures that the runner reports."""
        return set(re.findall(r"^molt-run: failure (\S+): ", self.messages, re.MULTILINE))

    def describe(self, lines=60):
        tail = "\n".join(self.log.lines[-lines:])
        return f"{self.name}: exit code {self.code}\n--- console, last lines:\n{tail}\n" + (
            f"--- runner:\n{self.messages}"
        )

    def expect(self, fails=frozenset()):
        assert self.keys == set(fails), self.describe()
        assert (self.code == 0) == (not fails), self.describe()


@contextlib.contextmanager
def slot():
    """For tests that start an emulator themselves."""
    os.makedirs(LOGS, exist_ok=True)
    with _slots:
        yield


def run_molt(options, name, limit=60, command="run", resets=0):
    """Runs `tools/molt run OPTIONS` in one of the slots, without a terminal."""
    os.makedirs(LOGS, exist_ok=True)
    serial = os.path.join(LOGS, name + ".log")
    with contextlib.suppress(FileNotFoundError):
        os.remove(serial)
    with _slots:
        if _ending.is_set():
            raise RuntimeError("the tests are ending")
        started = time.monotonic()
        with subprocess.Popen(
            [MOLT, command, *engine_options(options), "--serial", serial],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child:
            _children.add(child)
            try:
                output, messages = child.communicate(timeout=limit + GRACE)
            except subprocess.TimeoutExpired:
                child.terminate()
                output, messages = child.communicate()
                messages += f"\nno end within {limit + GRACE} s".encode()
            finally:
                _children.discard(child)
        seconds = time.monotonic() - started
    messages = messages.decode("utf-8", "replace")
    with open(os.path.join(LOGS, name + ".runner"), "w", encoding="utf-8") as file:
        file.write(messages)
    log = Log.read(serial, resets) if os.path.exists(serial) else Log()
    return Run(name, child.returncode, output.decode("utf-8", "replace"), messages, log, seconds)


class Symbols:
    """Names of the addresses in an image with symbols."""

    def __init__(self, path=built("molt.debug")):
        done = subprocess.run(
            ["nm", "-n", path], cwd=ROOT, capture_output=True, text=True, check=True
        )
        words = (line.split() for line in done.stdout.splitlines())
        self._found = [(int(word[0], 16), word[2]) for word in words if len(word) == 3]

    def at(self, address):
        """Name of what the address lies in; variants that the compiler made count as one."""
        names = [name for start, name in self._found if start <= address]
        return names[-1].partition(".")[0] if names else ""

    def address(self, name):
        return next(start for start, found in self._found if found == name)


class Pool:
    """Runs cases ahead of the tests that look at them."""

    def __init__(self):
        self._executor = concurrent.futures.ThreadPoolExecutor(SLOTS)
        self._runs = {}

    def start(self, cases):
        for case in sorted(cases, key=lambda case: -case.seconds):
            self._runs[str(case)] = self._executor.submit(self._run, case)

    @staticmethod
    def _run(case):
        if case.prepare:
            case.prepare()
        return run_molt(case.options(), str(case), case.timeout, resets=case.resets)

    def result(self, case):
        return self._runs[str(case)].result()

    def stop(self):
        _ending.set()
        for child in list(_children):
            child.terminate()
        self._executor.shutdown(wait=True, cancel_futures=True)


_pool = Pool()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if not config.option.xmlpath:
        config.option.xmlpath = os.path.join(LOGS, "results.xml")


def pytest_collection_modifyitems(items):
    """Tests that wait for a run in the background come last."""
    items.sort(key=lambda item: "case_run" in item.fixturenames)


def pytest_collection_finish(session):
    if not session.config.option.collectonly:
        calls = (getattr(item, "callspec", None) for item in session.items)
        cases = [call.params["case"] for call in calls if call and "case" in call.params]
        _write_random_files()
        _pool.start([case for case in cases if isinstance(case, Case)])


def pytest_sessionfinish():
    _pool.stop()


@pytest.fixture
def case_run(case, record_property):
    """The finished run of the test's case."""
    try:
        run = _pool.result(case)
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)
    for key, value in (("engine", case.engine), ("firmware", case.firmware), ("cpus", case.cpus)):
        record_property(key, value)
    record_property("seconds", f"{run.seconds:.1f}")
    return run


# QEMU waits until its UART's FIFO has room. That of Bochs drops what it has no room for; molt takes
# a key each millisecond.
BOCHS_PACE = 0.005


class Terminal:
    """`tools/molt run` on a terminal of its own, typed into by a test."""

    def __init__(self, child, name, pace):
        self.child = child
        self.name = name
        self.pace = pace  # seconds between two keys

    def type(self, keys):
        """Sends keys, no faster than the machine takes them."""
        if self.pace == 0:
            self.child.send(keys)
            return
        for key in keys:
            self.child.send(key)
            time.sleep(self.pace)

    def line(self, text):
        self.type(text + "\r")

    def expect(self, pattern, timeout=30):
        """Waits for a pattern; returns the match object."""
        try:
            self.child.expect(pattern, timeout=timeout)
        except (pexpect.TIMEOUT, pexpect.EOF) as error:
            tail = (self.child.before or "")[-3000:]
            kind = type(error).__name__
            text = f"{self.name}: {kind} instead of {pattern!r}, after:\n{tail}"
            pytest.fail(text, pytrace=False)
        return self.child.match

    def end(self, timeout=30):
        """Waits for the runner's end; returns its exit code."""
        self.expect(pexpect.EOF, timeout)
        self.child.close()
        return self.child.exitstatus

    def quit(self):
        """Ctrl-]: the runner leaves."""
        self.child.send("\x1d")
        return self.end()


@pytest.fixture
def terminal(request):
    """A function that starts a Terminal: terminal(options, name)."""
    open_now = []

    def start(options, name, limit=120):
        os.makedirs(LOGS, exist_ok=True)
        _slots.acquire()
        child = pexpect.spawn(
            MOLT,
            ["run", *engine_options(options), "--timeout", str(limit)],
            cwd=ROOT,
            encoding="utf-8",
            codec_errors="replace",
            timeout=30,
            echo=False,
        )
        child.delaybeforesend = None
        child.logfile_read = open(os.path.join(LOGS, name + ".log"), "w", encoding="utf-8")
        open_now.append(child)
        return Terminal(child, name, BOCHS_PACE if BOCHS in options else 0)

    yield start
    for child in open_now:
        if child.isalive():
            child.kill(15)
            child.wait()
        child.close()
        child.logfile_read.close()
        _slots.release()
