# SPDX-License-Identifier: Apache-2.0
"""Large machines and fragmented guests: what the pause, the boot and the host's memory show of it.

On TCG with -icount: the TSC counts instructions, so figures do not depend on this machine's load.
"""

import contextlib
import os
import re
import subprocess
import tempfile

import pytest
from conftest import MOLT, ROOT, SVM, run_molt, slot
from moltlib import series

UPDATES = 2
LIMIT = 240
BLACKOUT_RATIO_MAX = 1.10  # of 1000 GiB to 1 GiB
EXTENT_MAX = 400  # instructions in the pause for each extent of a page
LINEAR = 0.15  # what an extent costs may differ so much between few and many
SECTION = 2 << 20  # of RAM, for an entry of 16 bytes
MIB = 1 << 20

_BOOT = re.compile(r"boot: (\d+) cycles to the first guest")
_GAP = re.compile(r"figures .* gap_us=(\d+) ")
_NEEDS = re.compile(r"lu: refused: does not fit: .*; needs liveupdate=(\d+)M ")


def run(name, options):
    options = [SVM if word == "tcg" else word for word in options]  # series.py has the runner's
    return run_molt([*options, "--timeout", str(LIMIT)], "scale-" + name, LIMIT)


def good(name, options):
    finished = run(name, options)
    finished.expect()
    return finished.log


def boot(log):
    return next(int(match.group(1)) for match in map(_BOOT.match, log.molt) if match)


def table_bytes(gib):
    """Section table of so much RAM; QEMU puts what does not fit below 1 TiB above it."""
    return (2048 if gib == 1000 else gib + 3) * (1 << 30) // SECTION * 16


def blackouts(log):
    return [update.blackout for update in log.ok]


@pytest.fixture(scope="module")
def small():
    return good("ram-1", series.ram(1, UPDATES))


@pytest.mark.parametrize("gib", [1000, pytest.param(16, marks=pytest.mark.soak),
                                 pytest.param(256, marks=pytest.mark.soak)])
def test_ram__same_guests__boot_and_blackout_as_with_1_gib(small, gib):
    large = good(f"ram-{gib}", series.ram(gib, UPDATES))
    assert len(blackouts(large)) == UPDATES
    for before, after in zip(blackouts(small), blackouts(large)):
        assert after <= before * BLACKOUT_RATIO_MAX, (blackouts(small), blackouts(large))
    # The table is cleared, by less than an instruction a byte; nothing else depends on RAM.
    assert boot(large) - boot(small) <= table_bytes(gib) / 2, (boot(small), boot(large))


def test_ram__a_guest_owns_most_of_1000_gib__updates_and_audits():
    """In extents of 1 GiB, little of it zeroed: the host could not hold it."""
    log = good("owner-1000", series.owner(1000, UPDATES, "audit=update"))
    assert int(log.domains["big"]["memory"][:-1]) >= 950 << 10
    assert int(log.domains["big"]["extents"]) <= 1100, log.domains
    lines = [{**line, "heap": ""} for line in log.memory]
    assert all(line == lines[0] for line in lines), log.memory
    assert len(log.audits) == UPDATES and all(text.startswith("ok ") for text in log.audits)
    assert log.exit_code("big") == 0


# --- what of RAM is touched ---


def touched(pid, gib):
    """Bytes of the machine's RAM that the host has had to give it."""
    found, size = [], 0
    with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as file:
        for line in file:
            key, _, value = line.partition(":")
            if key == "Size":
                size = int(value.split()[0]) << 10
            elif key == "Rss" and size == gib << 30:
                found.append(int(value.split()[0]) << 10)
    return sum(found)


def most_touched(gib):
    """The same, when the guests of series.ram() have ended after their updates."""
    with tempfile.TemporaryDirectory(prefix="molt-") as folder, slot():
        pid_file = os.path.join(folder, "pid")
        options = [*series.ram(gib, UPDATES), "--append", "end=never", "--timeout", str(LIMIT)]
        options += ["--qemu-arg=-pidfile", f"--qemu-arg={pid_file}"]
        # All of RAM below 1 TiB: so the table is that of RAM alone.
        options += ["--qemu-arg=-global", "--qemu-arg=q35-pcihost.pci-hole64-size=1G"]
        with subprocess.Popen([MOLT, "run", *options], cwd=ROOT, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True, errors="replace") as child:
            try:
                for line in child.stdout:
                    if "molt: domain control exit=0" in line:
                        with open(pid_file, encoding="ascii") as file:
                            return touched(int(file.read()), gib)
            finally:
                child.terminate()
                with contextlib.suppress(OSError):
                    child.communicate(timeout=30)
    raise AssertionError(f"{gib} GiB: the guest did not end")


def test_ram__1000_gib__the_host_gives_little_more_than_tables():
    few, many = most_touched(1), most_touched(1000)
    assert few > MIB
    # A section table in each of the arenas.
    assert many - few <= 2 * 8 * MIB + 8 * MIB, (few, many)


# --- extents ---


def extents(log):
    return sum(int(fields["extents"]) for fields in log.domains.values())


def cost(fewer, more):
    """Instructions in the pause for each extent that one run has more than the other."""
    spent = sum(blackouts(more)) / len(blackouts(more)) - sum(blackouts(fewer)) / len(
        blackouts(fewer))
    return spent / (extents(more) - extents(fewer))


def fragmented(index):
    pages, mem, region = series.EXTENTS[index]
    log = good(f"extents-{pages}", series.extents(pages, mem, region, UPDATES))
    assert extents(log) == pages + 1024
    assert len(blackouts(log)) == UPDATES
    return log


def test_extents__from_1000_to_100000__cost_is_linear():
    few, some, many = (fragmented(index) for index in range(3))
    first, second = cost(few, some), cost(some, many)
    assert 0 < second <= first * (1 + LINEAR), (first, second)
    assert second <= EXTENT_MAX, (first, second)


@pytest.mark.soak
def test_extents__a_million__cost_is_linear():
    some, many, most = (fragmented(index) for index in range(1, 4))
    first, second = cost(some, many), cost(many, most)
    assert 0 < second <= first * (1 + LINEAR), (first, second)


def test_extents__update_prepared__another_guest_on_the_cpu_goes_on():
    """Besides the pause itself nothing of an update keeps it from the CPU for more than some turns.

    Written and checked in one piece, the extents would take twice what they take in the pause.
    """
    many = series.guest("hello", "name=many", "mem=240000K")
    worker = series.guest("worker", "name=worker", "mem=8M", "cmdline=engine=tcg")
    log = good("extents-gap", series.tcg("2G", "extent_order=0", "liveupdate=256M", "slice=1",
                                         guests=(series.CONTROL, many, worker), updates=1))
    assert extents(log) > 60_000 and len(log.ok) == 1
    gap = next(int(match.group(1)) for match in map(_GAP.search, log.guests["worker"]) if match)
    # A nanosecond for each instruction; slices of 1 ms, two of which are the control guest's and
    # the idle one's.
    assert gap * 1000 <= max(blackouts(log)) + 4_000_000, (gap, blackouts(log))


def test_extents__region_too_small__refused_and_what_is_named_does():
    """The arena has to hold what the next image takes for each extent."""
    pages = 60_000
    refused = run("extents-refused", series.extents(pages, "1G", "8M", 1))
    refused.expect({"updates", "domain:control", "checks:control", "end", "machine:failed"})
    assert not refused.log.panics and not refused.log.ok
    needs = next(filter(None, map(_NEEDS.match, refused.log.molt)), None)
    assert needs, refused.describe()
    log = good("extents-needed", series.extents(pages, "1G", needs.group(1) + "M", UPDATES))
    assert len(log.ok) == UPDATES
