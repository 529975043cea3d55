# SPDX-License-Identifier: Apache-2.0
"""molt under nested KVM of both vendors: one boot of level 1 for each, all of CASES in it."""

import concurrent.futures
import os
import re
import sys
import tempfile
from dataclasses import dataclass, field

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import rig  # noqa: E402  (found through the line above)

from moltlib import detect, iso, options  # noqa: E402  (found through rig)

LOGS = os.path.join(rig.ROOT, "build", "emu")
# Level 0 -> the modules of level 1's kernel, and what molt finds in it.
VENDORS = {"bochs": ("kvm_intel", "vmx"), "tcg": ("kvm_amd", "svm")}
COMPLAINTS = re.compile(r"kvm|BUG:|WARNING|Oops|Call Trace|general protection|lockup|stall", re.I)
# Also under KVM it is QEMU's TCG that executes: lib/molt.h says what it leaves out.
GUEST_WORDS = {"bochs": "", "tcg": "engine=tcg"}
LINUX_CMDLINE = (
    "console=ttyS0,115200 quiet mitigations=off cryptomgr.notests init_on_alloc=0 pci=off "
    f"initcall_blacklist={rig.NO_INITCALLS}"
)


def built(name):
    return os.path.join(rig.ROOT, "build", name)


def guest(name, *words, cmdline=""):
    """A function that makes the value of --guest for an engine."""

    def value(engine):
        own = f"{GUEST_WORDS[engine]} {cmdline}".strip()
        return ",".join([built(f"guests/{name}.elf"), *words, f"cmdline={own}"])

    return value


def linux(_engine):
    kernel, initramfs = built("linux/vmlinuz"), built("linux/initramfs.cpio")
    return f"{kernel},name=linux,mem=112M,module={initramfs},cmdline={LINUX_CMDLINE}"


CONTROL = guest("control", "mem=32M", "control")
WORKER = guest("worker", "mem=32M")
HELLO = guest("hello", "mem=20M")
TEST_IMAGES = [built("molt-test.elf"), built("molt-test-next.elf")]


@dataclass
class Row:
    """A case for each vendor: what `tools/molt run` would be given, and what must come of it."""

    name: str
    guests: list
    updates: int = None
    interval: int = 20
    cpus: int = 1
    molt: str = options.MOLT
    images: list = field(default_factory=list)
    append: str = ""
    fails: set = frozenset()
    checks: list = field(default_factory=list)  # functions that take a Log

    def image(self, engine, workdir):
        """Path of its ISO."""
        path = os.path.join(workdir, self.name + ".iso")
        words = ["iso", "-o", path, "--molt", self.molt, "--interval", str(self.interval)]
        for value in self.guests:
            words += ["--guest", value(engine)]
        for image in self.images:
            words += ["--image", image]
        if self.updates is not None:
            words += ["--updates", str(self.updates)]
        args = options.parser().parse_args(words + ["--append", self.append])
        own = os.path.join(workdir, self.name)
        os.mkdir(own)
        iso.build(options.boot_from(args), path, own, "bios")
        return path


def all_passed(*names):
    """These guests checked themselves and exited with 0."""

    def check(log):
        for name in names:
            assert log.exit_code(name) == 0 and log.checks[name].passed > 0, name

    return check


def greets(log):
    assert log.exit_code("hello") == 0 and any("hello 1: molt" in t for t in log.guests["hello"])


def cpus(count):
    def check(log):
        assert any(text.startswith(f"cpus: {count} online") for text in log.molt)

    return check


def images_take_turns(log):
    assert len({update.target for update in log.ok}) == 2


def came_back(log):
    """The new image panicked, the old one went on, and the worker has noticed nothing."""
    (update,) = log.updates
    assert update.result == "back" and update.reason.startswith("the new image failed"), update


def updates_under_linux(log):
    """The updates happened while Linux booted, and it went on to switch the machine off."""
    created, end = log.domains["linux"], next(end for end in log.ends if end.name == "linux")
    assert created and log.ok and all(update.line < end.line for update in log.ok)
    assert "domain linux powered off" in log.molt


ROWS = [
    Row("updates", [CONTROL, WORKER, guest("plain32", "mem=32M"), HELLO], updates=2,
        checks=[images_take_turns, all_passed("control", "worker", "plain32"), greets]),
    Row("updates-2-cpus", [CONTROL, WORKER, HELLO], updates=2, cpus=2,
        checks=[cpus(2), images_take_turns, all_passed("control", "worker"), greets]),
    Row("comes-back", [CONTROL, WORKER], updates=1, molt=TEST_IMAGES[0], images=TEST_IMAGES,
        append="audit=off fault=new.map.before:panic:1:0",
        fails={"update:1", "domain:control", "checks:control", "updates", "end",
               "machine:failed"},
        checks=[came_back, all_passed("worker")]),
    Row("linux", [CONTROL, linux], updates=2, interval=100,
        checks=[images_take_turns, all_passed("control", "linux"), updates_under_linux]),
]


def run_all(engine, rows):
    """Level1 of a boot with all rows."""
    os.makedirs(LOGS, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="molt-") as workdir:
        cases = [rig.Case(row.name, row.image(engine, workdir), row.cpus) for row in rows]
        with open(os.path.join(LOGS, f"nested-{engine}.log"), "wb") as serial:
            return rig.run(engine, cases, serial)


@pytest.fixture(scope="module")
def boots(request):
    """{engine: future of its Level1}, of the engines that any selected test wants."""
    items = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    engines = {params["engine"] for params in items if "engine" in params}
    rig.make()
    with concurrent.futures.ThreadPoolExecutor(len(VENDORS)) as pool:
        yield {engine: pool.submit(run_all, engine, ROWS) for engine in engines}


@pytest.fixture
def level1(boots, engine):
    try:
        return boots[engine].result()
    except (rig.Failed, options.UsageError) as error:
        pytest.fail(str(error), pytrace=False)


every_vendor = pytest.mark.parametrize("engine", VENDORS)


@every_vendor
@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_nested(level1, row):
    result = next(result for result in level1.results if result.name == row.name)
    names = [value("bochs").partition("name=")[2].partition(",")[0] for value in row.guests]
    verdict = result.judge(row.updates, [name for name in names if name])
    text = result.text.decode("utf-8", "replace")[-4000:]
    assert verdict.keys == set(row.fails), f"{verdict.reasons}\n{text}"
    for check in row.checks:
        check(result.log)


@every_vendor
def test_level1__its_kernel__has_nothing_to_say_of_kvm(level1):
    assert not [text for text in level1.complaints if COMPLAINTS.search(text)]


@every_vendor
def test_detection__of_a_real_kvm__names_its_vendor(level1, engine, tmp_path):
    module, vendor = VENDORS[engine]
    name, nested = level1.facts["nested"].split()
    assert name == module
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(level1.facts["cpuinfo"] + "\n")
    parameters = tmp_path / "sys" / "module" / module / "parameters"
    parameters.mkdir(parents=True)
    (parameters / "nested").write_text(nested + "\n")
    bits = detect.offered(bytes.fromhex(level1.facts["cpuid"]))
    assert bits == {vendor}
    host = detect.Host(str(tmp_path), lambda path: (True, bits, f"{path} works"), lambda name: name)
    found = detect.engines(host)["kvm"]
    assert found.installed and found.virtualization == vendor and "nested" in found.text
    (parameters / "nested").write_text("N\n" if nested == "Y" else "0\n")
    assert not detect.engines(host)["kvm"].virtualization


CONSOLE = b"""level1: up at 1.47 6.1.0\r
level1: begin good 2.00\r
molt: molt 0.1.0/0123456789ab\r
molt: end ok\r
\r
level1: error qemu-system-x86_64: warning: few CPUs\r
level1: end 1 3.25\r
level1: begin killed 3.25\r
molt: half a li\r
level1: end 137 5.25\r
level1: begin broken 5.25\r
\r
level1: error qemu-system-x86_64: no such disk\r
level1: end 1 6.25\r
level1: kernel <4>[    1.0] kvm: nonsense\r
level1: begin cut 6.25\r
[hello] hello 1\r
and"""


def test_console__taken_apart__every_case_has_its_log_and_outcome():
    level1 = rig.Level1()
    for at in range(0, len(CONSOLE), 7):
        level1.feed(CONSOLE[at : at + 7])
    level1.finish()
    kinds = {result.name: result.outcome.kind for result in level1.results}
    assert kinds == {"good": "ok", "killed": "timeout", "broken": "broken", "cut": "broken"}
    good = level1.results[0]
    assert good.judge().good and good.seconds == 1.25 and good.log.molt[-1] == "end ok"
    assert level1.results[3].log.guests == {"hello": ["hello 1"]}
    assert level1.facts == {"up": "at 1.47 6.1.0"} and len(level1.complaints) == 1


def test_run__level1_without_init__says_so(monkeypatch):
    monkeypatch.setattr(rig, "CMDLINE", rig.CMDLINE + " rdinit=/nowhere")
    monkeypatch.setattr(rig, "LEVEL1_LIMIT", 60)
    with pytest.raises(rig.Failed, match="(?s)level 1 on tcg.*panic"):
        rig.run("tcg", [])
