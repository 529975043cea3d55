# SPDX-License-Identifier: Apache-2.0
"""The two images, and boot images that run without the runner."""

import os
import re
import struct
import subprocess
import types

import pexpect
import pytest
from conftest import LOGS, MOLT, ROOT, Symbols, built, slot
from test_cases import CONTROL, CONTROL_BOTH, HELLO, WORKERS, images_take_turns, ticks_in_order

from moltlib.detect import BOCHS, QEMU
from moltlib.log import Log

IMAGES = ("molt", "molt-next")
STRUCTS = ("domain", "vcpu", "vcpu_state", "extent", "extent_map", "vuart", "percpu")

_MEMBER = re.compile(r"/\* +(\d+) .*\*/    (\S.*?)(?:;| \{)$")


def layout(image, struct_name):
    """{member: offset} of an internal structure, as its debug information has it."""
    command = ["gdb", "-nx", "-batch", "-ex", f"ptype /o struct {struct_name}"]
    done = subprocess.run(
        [*command, built(image + ".debug")], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = {}
    for line in done.stdout.splitlines()[1:]:
        match = _MEMBER.match(line)
        if match and "layout_hole" not in match.group(2):
            found[match.group(2)] = int(match.group(1))
    assert found, done
    return found


def notes(path):
    """{(owner, type): bytes} of the ELF notes."""
    with open(os.path.join(ROOT, path), "rb") as file:
        elf = file.read()
    offset, size, count = struct.unpack_from("<Q", elf, 32) + struct.unpack_from("<HH", elf, 54)
    found = {}
    for at in range(offset, offset + size * count, size):
        kind, _, start, _, _, length = struct.unpack_from("<IIQQQQ", elf, at)
        end = start + length
        while kind == 4 and start + 12 <= end:
            name, desc, note_type = struct.unpack_from("<III", elf, start)
            start += 12
            owner = elf[start : start + name].rstrip(b"\0").decode()
            start += (name + 3) & ~3
            found[owner, note_type] = elf[start : start + desc]
            start += (desc + 3) & ~3
    return found


@pytest.mark.parametrize("name", STRUCTS)
def test_images__internal_structure__differs(name):
    before, after = (layout(image, name) for image in IMAGES)
    assert set(before) == set(after)
    moved = [member for member in before if before[member] != after[member]]
    assert len(moved) * 2 >= len(before), f"only {moved} of {list(before)}"


def test_images__addresses_versions_and_build_ids__differ():
    first, second = (notes(built(image + ".elf")) for image in IMAGES)
    assert set(first) == set(second) and len(first) == 3
    for key, value in first.items():
        assert value and value != second[key], key
    addresses = [Symbols(built(image + ".debug")).address("hv_main") for image in IMAGES]
    assert abs(addresses[0] - addresses[1]) > 1 << 20


# --- without the runner ---


@pytest.fixture
def boot_image(tmp_path):
    """A boot image that makes three updates by itself."""
    path = tmp_path / "molt.iso"
    words = ["iso", "--firmware", "bios", "--updates", "3", "-o", path]
    for guest in (CONTROL, WORKERS[0]):
        words += ["--guest", guest]
    subprocess.run([MOLT, *words], cwd=ROOT, check=True)
    return path


def check_log(log):
    assert len(log.ok) == 3 and log.end == "ok" and not log.panics and not log.refusals
    assert set(log.domains) == {"control", "worker1"}
    assert all(line["sum"] == "ok" for line in log.memory) and len(log.memory) == 4


def test_iso__plain_qemu__updates_itself(boot_image):
    serial = os.path.join(LOGS, "iso-qemu.log")
    command = [QEMU, "-cdrom", boot_image, "-m", "512", "-cpu", "max", "-display", "none"]
    command += ["-no-reboot", "-serial", "file:" + serial.replace(",", ",,")]
    command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
    with slot():
        done = subprocess.run(command, timeout=90, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 1  # what the device makes of 0
    check_log(Log.read(serial))


BOCHSRC = """\
display_library: term
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
megs: 512
ata0-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={serial}
cpu: model=corei7_skylake_x, ips=50000000, reset_on_triple_fault=0
clock: sync=none
log: {log}
panic: action=fatal
sound: driver=dummy, waveout=/dev/null, wavein=, midiout=
speaker: enabled=0
"""


def test_iso__plain_bochs__updates_under_guests(boot_image, tmp_path):
    serial = os.path.join(LOGS, "iso-bochs.log")
    config = tmp_path / "bochsrc"
    config.write_text(BOCHSRC.format(iso=boot_image, serial=serial, log=tmp_path / "bochs.log"))
    commands = tmp_path / "commands"
    commands.write_text("c\n")
    words = ["-q", "-f", str(config), "-rc", str(commands)]
    with slot():
        child = pexpect.spawn(BOCHS, words, timeout=90, env=dict(os.environ, TERM="linux"))
        try:
            child.expect(pexpect.EOF)
        finally:
            child.close(force=True)
    log = Log.read(serial)
    check_log(log)
    run = types.SimpleNamespace(log=log)
    images_take_turns(run)
    ticks_in_order(run)
    assert log.exit_code("control") == 0 and log.exit_code("worker1") == 0


# --- on Bochs without GRUB ---


def said(log):
    """What molt says until guests run, but for times."""
    end = next(n for n, text in enumerate(log.molt) if text.startswith("boot: "))
    return [text.partition(" boot_tsc=")[0] for text in log.molt[:end]
            if not text.startswith("wall clock: ")]


def test_no_grub__says_what_it_says_with_grub():
    """CPUs, memory, modules of a guest, words with marks that GRUB changes."""
    words = ["run", "--engine", "bochs", "--cpus", "2", "--mem", "256M", "--timeout", "60",
             "--updates", "1", "--append", r"""x="a'b\c" y=''"""]
    for value in (CONTROL_BOTH + r""" z=\"'""", HELLO + ",cmdline=seconds=1"):
        words += ["--guest", value]
    logs = []
    for name, more in (("bochs-grub", []), ("bochs-no-grub", ["--no-grub"])):
        serial = os.path.join(LOGS, name + ".log")
        with slot():
            subprocess.run([MOLT, *words, "--serial", serial, *more], cwd=ROOT, timeout=120,
                           stdout=subprocess.DEVNULL, check=True)
        logs.append(Log.read(serial))
    assert said(logs[0]) == said(logs[1])
    assert len(said(logs[0])) >= 6 and all(len(log.ok) == 1 for log in logs)
