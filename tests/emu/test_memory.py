# SPDX-License-Identifier: Apache-2.0
"""Memory seen from outside (QEMU's monitor), and a machine whose memory is all given away."""

import os
import re
import socket
import tempfile

import pytest
from conftest import ROOT, SVM, run_molt
from test_cases import CONTROL, HELLO, WORKERS, guest, ticks_in_order

KIB4, MIB2, GIB = 4096, 2 << 20, 1 << 30
LOWER_HALF = 1 << 47
RAM = 512 << 20

# --- page tables ---

# Address, physical address, flags: X not executable, P large, U user, W writable.
_ENTRY = re.compile(r"([0-9a-f]{16}): ([0-9a-f]{16}) ([X-])[G-]([P-])[D-][A-][C-][T-]([U-])([W-])")


class Page:
    """One leaf of the page tables."""

    def __init__(self, match):
        self.va, self.pa = (int(match.group(i), 16) for i in (1, 2))
        self.executable = match.group(3) == "-"
        self.large = match.group(4) == "P"
        self.user = match.group(5) == "U"
        self.writable = match.group(6) == "W"
        self.size = KIB4

    def covers(self, pa):
        return self.pa <= pa < self.pa + self.size

    def __repr__(self):
        known = {"x": self.executable, "w": self.writable, "u": self.user}
        flags = "".join(flag for flag, on in known.items() if on)
        return f"{self.va:#x} -> {self.pa:#x} {self.size >> 10} KiB {flags}"


class Monitor:
    """QEMU's monitor."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(path)
        self._answer()

    def _answer(self):
        text = b""
        while not text.endswith(b"\n(qemu) "):
            more = self._socket.recv(65536)
            assert more, "QEMU has ended"
            text += more
        return text.decode()

    def ask(self, command):
        self._socket.sendall(command.encode() + b"\n")
        return self._answer()

    def pages(self):
        """The leaves of the page tables in use."""
        found = [Page(match) for match in _ENTRY.finditer(self.ask("info tlb"))]
        for page, following in zip(found, found[1:] + [None]):
            if page.large:  # which of the two sizes is not said
                huge = page.va % GIB == 0 and page.pa % GIB == 0
                alone = following is None or following.va - page.va >= GIB
                page.size = GIB if huge and alone else MIB2
        return found

    def physical(self, start, end, path):
        """Bytes of a range of memory, by way of a file."""
        self.ask(f'pmemsave {start:#x} {end - start:#x} "{path}"')
        with open(path, "rb") as file:
            return file.read()

    def close(self):
        self._socket.close()


def check_pages(pages):
    text = [page for page in pages if page.executable]
    assert text and len(pages) > len(text)
    assert [page for page in pages if page.va < LOWER_HALF] == []
    assert [page for page in pages if page.user] == []
    assert [page for page in text if page.writable] == []
    frames = {page.pa for page in text if page.size == KIB4}
    assert len(frames) == len(text), "text in large pages"
    aliases = [page for page in pages if page not in text and any(map(page.covers, frames))]
    assert [page for page in aliases if page.writable] == []
    assert sum(page.size for page in pages) >= RAM - MIB2, "the direct map is not there"
    for page in pages:
        assert page.pa % page.size == 0 and page.va % page.size == 0, page
    return min(frames)


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_memory__page_tables__nothing_is_writable_and_executable(terminal, firmware):
    """In both images: from cold boot, after an update, and after one back."""
    with tempfile.TemporaryDirectory(prefix="molt-") as folder:
        path = os.path.join(folder, "monitor")
        words = ["--engine", "tcg", "--firmware", firmware, "--append", "end=never"]
        words += ["--guest", CONTROL, "--guest", HELLO]
        words += ["--qemu-arg=-monitor", f"--qemu-arg=unix:{path},server=on,wait=off"]
        child = terminal(words, f"pages-{firmware}")
        child.expect(r"molt: boot: \d+ cycles", timeout=60)
        monitor = Monitor(path)
        found = [check_pages(monitor.pages())]
        for number in (1, 2):
            child.line("update")
            child.expect(rf"molt: update n={number} ok from=", 60)
            child.expect(r"molt: memory: .* sum ok", 60)
            found.append(check_pages(monitor.pages()))
        assert found[0] == found[2] != found[1], [hex(pa) for pa in found]
        monitor.close()
        child.line("quit")
        assert child.end() == 0


# --- what is the firmware's ---

_RANGE = re.compile(r"molt: memory: 0x([0-9a-f]+)-0x([0-9a-f]+) firmware ")


def firmware_ranges(text):
    """[(start, end)] of what molt's console shows, RAM chips above 1 MiB only."""
    found = [(int(start, 16), int(end, 16)) for start, end in _RANGE.findall(text)]
    return [(start, end) for start, end in found if 1 << 20 <= start and end <= RAM]


def test_memory__of_the_firmware__untouched_by_guests_and_updates(terminal):
    """OVMF's runtime services, its variables, ACPI tables: the same bytes at the end."""
    with tempfile.TemporaryDirectory(prefix="molt-") as folder:
        path = os.path.join(folder, "monitor")
        words = ["--engine", SVM, "--firmware", "uefi", "--append", "end=never"]
        for value in (CONTROL, WORKERS[0], HELLO):
            words += ["--guest", value]
        words += ["--qemu-arg=-monitor", f"--qemu-arg=unix:{path},server=on,wait=off"]
        child = terminal(words, "firmware-memory")
        child.expect(r"molt: boot: \d+ cycles", timeout=60)
        child.line("memory map")
        child.expect(r"molt: memory: frames=\d+ firmware=([1-9]\d+) .* sum ok")
        ranges = firmware_ranges(child.child.before)
        assert sum(end - start for start, end in ranges) >= 1 << 20, ranges
        monitor = Monitor(path)
        saved = os.path.join(folder, "bytes")
        before = [monitor.physical(start, end, saved) for start, end in ranges]
        assert any(any(piece) for piece in before)
        for number in (1, 2, 3):
            child.line("update")
            child.expect(rf"molt: update n={number} ok from=", 60)
            child.expect(r"molt: memory: frames=\d+ firmware=[1-9]\d+ .* sum ok", 60)
        child.line("destroy worker1")
        child.expect("molt: domain 2 worker1: dying")
        child.line("memory")
        child.expect(r"molt: memory: .* sum ok", 60)
        assert [monitor.physical(start, end, saved) for start, end in ranges] == before
        monitor.close()
        child.line("quit")
        assert child.end() == 0


# --- no memory left ---


def pages_of(value):
    """Pages that the file of a --guest takes."""
    return -(-os.path.getsize(os.path.join(ROOT, value.partition(",")[0])) // KIB4)


@pytest.mark.parametrize("engine", [SVM, "bochs"])
def test_memory__none_is_left__update_is_refused_and_guests_go_on(engine):
    """An image that has to wait for its place needs memory meanwhile: here there is none."""
    small = 20 << 10  # KiB

    def run(name, kib):
        guests = [CONTROL, WORKERS[0], guest("big", f"mem={kib}K", file="hello")]
        words = ["--engine", engine, "--mem", "496M", "--updates", "5", "--interval", "0"]
        # Arenas so large that the old one is not scrubbed yet when the image has been hashed.
        words += ["--append", "liveupdate=256M"]
        for value in guests:
            words += ["--guest", value]
        return run_molt([*words, "--timeout", "60"], f"{engine}-{name}"), guests

    plenty, guests = run("memory-plenty", small)
    plenty.expect()
    # Boot modules of guests are freed only when all guests are made.
    free = int(plenty.log.memory[0]["free"]) - sum(map(pages_of, guests))
    full, _ = run("memory-none", small + free * 4)
    failed = {"machine:failed"} if engine == SVM else set()
    full.expect({"updates", "domain:control", "checks:control", "end"} | failed)
    assert int(full.log.memory[0]["free"]) < 64
    assert any("out of memory" in reason for reason in full.log.refusals), full.describe()
    # -12 is -HC_ENOMEM; control ends on it, and the others with the run.
    seen = full.log.checks["control"].failed
    assert len(seen) == 1 and "returned -12: out of memory" in seen[0], seen
    assert full.log.exit_code("worker1") == 0 and full.log.exit_code("big") == 0
    ticks_in_order(full)
    refusal = next(i for i, line in enumerate(full.log.lines) if "lu: refused:" in line)
    assert any(line.startswith("[worker1] PASS:") for line in full.log.lines[refusal:])
    assert len({line["free"] for line in full.log.memory}) == 1, full.log.memory
