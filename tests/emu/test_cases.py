# SPDX-License-Identifier: Apache-2.0
"""Runs of molt with its guests: a table, and what each run must show besides a good end."""

import re

import pytest
from conftest import LATE, SVM, Case, Symbols, both, built, random_module
from moltlib.emulator import BOCHS_DATE


def guest(name, *options, file=None, cmdline=""):
    """A value for --guest."""
    words = [built(f"guests/{file or name}.elf"), f"name={name}", *options]
    return ",".join(words + ([f"cmdline={cmdline}"] if cmdline else []))


CONTROL_AUDIT = guest("control", "mem=20M", "control", cmdline="audit=1")
BRIEF = guest("hello", "mem=20M", cmdline="seconds=1")
NEXT = "module=" + built("molt-next.elf")
BOTH = ("module=" + built("molt.elf"), NEXT)
# Every way between three images, the one of stream version 1 included.
THREE = [built("molt.elf"), built("molt-next.elf"), built("molt-v1.elf")]
CONTROL_THREE = guest("control", "mem=32M", "control", cmdline="modules=1,2,1,0,2,0")
HELLO = guest("hello", "mem=20M")
CONTROL = guest("control", "mem=32M", "control")
CONTROL_BOTH = guest("control", "mem=48M", "control", *BOTH, cmdline="source=both")
CONTROL_BOTH_ALONE = CONTROL_BOTH + " alone=1"  # many updates: the others wait while it loads
WORKERS = [guest(f"worker{n}", "mem=64M", file="worker", cmdline=f"seed={n}") for n in range(1, 5)]
PLAIN32 = guest("plain32", "mem=32M")
WORKER64 = guest("worker64", "mem=32M")
RYZEN = ["--cpu-model", "ryzen"]
ON_RYZEN = [guest("control", "mem=32M", "control", cmdline="engine=tcg"),
            guest("worker64", "mem=32M", cmdline="engine=tcg"),
            guest("plain32", "mem=32M", cmdline="engine=tcg")]


def flood(longest):
    """Two that print all the time, one of whose lines none takes longer than so many ms."""
    return [CONTROL, *(guest(f"flood{n}", "mem=20M", file="flood", cmdline=words) for n, words in (
        (1, "lines=800 width=20"), (2, "lines=500 width=170"),
        (3, f"lines=60 every=50 longest={longest}")))]


# Every other page of some megabytes: far more fragments than any small table holds.
FRAGMENTS = "badpage=" + ",".join(f"{page:x}" for page in range(0x8000, 0x8000 + 1200, 2))

# Domains whose memory is not only zeroes.
RANDOM = [
    guest("control", "mem=32M", "control", random_module(1, 4)),
    guest("random2", "mem=48M", random_module(2, 16), file="hello"),
    guest("random3", "mem=64M", random_module(3, 8), file="hello"),
]

# Low memory is bad but for what boot loader and region need, and most of what lies above 4 GiB: the
# domains have to live in the rest, between single bad pages.
ABOVE_4G = "badpage=4000-7e000,100000-107fff,114000-1fffff,10800a-10800c," + ",".join(
    f"{page:x}" for page in range(0x108000, 0x114000, 64)
)
ABOVE_4G_FRAMES = 0x7E001 - 0x4000 + 0x8000 + 0xEC000 + 3 + 0xC000 // 64

# Bad pages in both arenas, in the first page of one of them too, but not the region's first page.
REGION_BASE = 0x10000000
FIXED = f"liveupdate=16M@{REGION_BASE:#x} "
IN_REGION = FIXED + "badpage=10001,10002,10050-10060,10101,10801-10802,10850"
IN_REGION_FRAMES = 2 + 17 + 1 + 2 + 1

# name -> error code of the page fault (None: a panic by itself)
SELFTESTS = {
    "panic": None,
    "write-text": 0x3,  # a write, the page is present
    "write-rodata": 0x3,
    "run-data": 0x11,  # a fetch, the page is present
    "run-ram": 0x11,
    "null": 0x0,
    "stack": 0x2,  # a write, nothing is there
    "region": None,
}
DIRECT_MAP = 0xFFFF800000000000

# value of liveupdate= -> (base or None: anywhere, MiB)
REGIONS = {
    "8M": (None, 8),
    "48M": (None, 48),
    "8M@32M": (32 << 20, 8),
    "16M@0x10000000": (REGION_BASE, 16),
    "0x1000000@256M": (REGION_BASE, 16),
}
# value -> what the panic says
BAD_REGIONS = {
    "abc": r"not SIZE\[@BASE\]",
    "16M@": r"not SIZE\[@BASE\]",
    "16M@0": r"not SIZE\[@BASE\]",
    "0": "size is below 8 MiB",
    "6M": "size is below 8 MiB",
    "9M": "size is not a multiple of 2 MiB",
    "5G": "size is above 4 GiB",
    "16M@0x10001000": "base is not a multiple of 2 MiB",
    "16M@1M": "base is not a multiple of 2 MiB",
    "16M@0x40000000": "not all of the range is RAM",
    "16M@0xff000000": "not all of the range is RAM",
    "16M@4G": "reaches above 4 GiB",
    "32M@0xff000000": "reaches above 4 GiB",
    "1G": "no free range of that size below 4 GiB",
}

# name of the domain -> command line, what its line must say
CRASHES = {
    "triple": ("how=triple", None),
    "ept": ("how=ept", None),
    "ept-exec": ("how=ept-exec", None),
    "hlt": ("how=hlt", None),
    "stack": ("how=stack", None),
    "badcr3": ("how=badcr3", None),
    "code5": ("how=exit code=5", 5),
    "vmxon": ("how=vmxon", 0),
}


# --- checks ---


def all_exited(*names):
    def check(run):
        for name in names:
            assert run.log.exit_code(name) == 0, f"{name}: no exit with 0\n{run.describe()}"

    return check


def ended_well(run):
    assert run.log.end == "ok" and run.log.exit_code("deaf") is None, run.describe()


def ticks_in_order(run):
    """Nothing printed is lost or printed twice."""
    for name in run.log.guests:
        ticks = run.log.ticks(name)
        assert ticks == list(range(1, len(ticks) + 1)), f"{name}: {ticks}"


def lines_in_order(name, count):
    """Every line that the flooding payload has printed, once, in its order."""

    def check(run):
        texts = run.log.guests[name]
        found = [int(match.group(1)) for match in map(_LINE.match, texts) if match]
        assert found == list(range(1, count + 1)), f"{name}: {len(found)} lines, not 1 to {count}"

    return check


_LINE = re.compile(r"line n=(\d+) .* crc=[0-9a-f]{8}$")


def all_given_back(run):
    """With no child there, memory is as at the boot, and at the end as after the first update."""
    boot, first, *others, last = accounts(run.log)
    assert len(others) == len(run.log.ok) - 2
    assert boot == first == last
    assert all(line["preserved"] != last["preserved"] for line in others)  # with a child


def lives_of_a_child(run):
    """A domain made by hypercall was there at updates in each of its states, and ran after them."""
    texts = run.log.guests["control"]
    for state in ("gone", "new", "loaded", "running", "paused"):
        assert any(re.match(rf"update n=\d+ child={state} ", text) for text in texts), state
    starts = [text for text in run.log.guests["child"] if text.startswith("worker domain=")]
    assert len(starts) == len(run.log.ok)


def images_take_turns(run):
    """Update after update, each starts from what the one before led to, and changes the image."""
    numbers = [update.n for update in run.log.ok]
    assert numbers == list(range(1, len(numbers) + 1))
    for update in run.log.ok:
        assert update.source != update.target and update.blackout > 0
        assert sum(update.phases.values()) <= update.blackout
    for before, after in zip(run.log.ok, run.log.ok[1:]):
        assert before.target == after.source


def both_streams(run):
    """Version 1 to and from the image that knows no other, version 2 between the others."""
    for update in run.log.ok:
        old = any(image.startswith("0.0.9/") for image in (update.source, update.target))
        assert update.stream == (1 if old else 2), f"n={update.n}: stream {update.stream}"
    ways = {(update.source, update.target) for update in run.log.ok}
    assert len(ways) == 6, ways


def accounts(log):
    """The accounts of memory as if no image were loaded: that has free frames."""
    return [{**line, "next": 0, "free": int(line["free"]) + int(line["next"])}
            for line in log.memory]


def no_frame_lost(run):
    """Memory adds up to the same after each update."""
    lines = accounts(run.log)
    assert lines, "no account of the memory"
    for line in lines:
        assert line == lines[0], f"{line} after {lines[0]}"
    assert lines[0]["heap"] == "0", lines


def bad_pages(count):
    def check(run):
        assert run.log.memory
        for line in run.log.memory:
            assert int(line["bad"]) == count, line

    return check


def nothing_leaks(run):
    """The account of memory is the same after the last update as after the first."""
    after = accounts(run.log)[1:]  # the first one is of the boot
    assert len(after) == len(run.log.ok) >= 2
    assert all(account == after[0] for account in after), after


def digests_equal(run):
    """Each domain's memory has one checksum, at boot and after each update."""
    found = {}
    for digest in run.log.digests:
        found.setdefault(digest.name, []).append(digest.fields["crc"])
    assert set(found) == set(run.log.domains)
    for name, crcs in found.items():
        assert len(crcs) == 1 + len(run.log.ok) and len(set(crcs)) == 1, f"{name}: {crcs}"
    assert len({crcs[0] for crcs in found.values()}) == len(found), found


def above_4g(run):
    """Most of the domains' memory lies above 4 GiB, in many pieces."""
    assert sum(int(fields["extents"]) for fields in run.log.domains.values()) > 500


def molt_line(pattern):
    """molt prints a line that matches."""

    def check(run):
        assert any(re.search(pattern, text) for text in run.log.molt), run.describe()

    return check


def cpus(count, mode):
    """All CPUs of the host are there, at boot and again after each update."""

    def check(run):
        lines = [text for text in run.log.molt if text.startswith("cpus: ")]
        assert lines == [f"cpus: {count} online, {mode}"] * (1 + len(run.log.ok)), run.describe()

    return check


def host_cpus(count):
    """The same, whatever the engine's APICs can do."""

    def check(run):
        cpus(count, "xAPIC" if run.name.startswith(SVM) else "x2APIC")(run)

    return check


def audited(times):
    """So often for each update, and everybody agreed; it says how many frames there are."""

    def check(run):
        assert len(run.log.audits) == times * len(run.log.ok), run.log.audits
        frames = {int(re.fullmatch(r"ok frames=(\d+)", text).group(1)) for text in run.log.audits}
        line = run.log.memory[-1]
        assert frames == {int(line["frames"]) - int(line["firmware"])}, frames

    return check


def region_is(base, mib):
    def check(run):
        text = next(text for text in run.log.molt if text.startswith("liveupdate: region "))
        start, end = (int(word, 16) for word in re.findall(r"0x[0-9a-f]+", text))
        assert end - start == mib << 20 and start % (2 << 20) == 0 and end <= 4 << 30, text
        assert base in (None, start), text
        for line in run.log.memory:
            assert int(line["region"]) == mib << 8, line

    return check


def panics(text, phase="run"):
    """A panic says the CPU, the phase, the place, the reason, and who called; nothing follows."""

    def check(run):
        line = rf'panic: cpu=0 phase="{phase}" rip=([0-9a-f]{{16}}) (.*)'
        where = next(filter(None, (re.fullmatch(line, panic) for panic in run.log.panics)), None)
        assert where and re.search(text, where.group(2)), run.describe()
        symbols = Symbols()
        callers = calls(run)
        assert callers and symbols.at(callers[-1]) in ("hv_main", "entry64"), run.describe()
        assert run.log.molt[-1] == "end failed"

    return check


def calls(run):
    """The addresses of the backtrace."""
    for panic in run.log.panics:
        if panic.startswith("panic: backtrace:"):
            return [int(word, 16) for word in panic.split()[2:]]
    return []


def fault_of(run):
    """(error code, address) of the page fault that a panic reports."""
    for panic in run.log.panics:
        match = re.match(r"panic: page fault \(#PF\) error=([0-9a-f]+) cr2=([0-9a-f]{16}) ", panic)
        if match:
            return int(match.group(1), 16), int(match.group(2), 16)
    return None


def caught(name, error):
    """The self test broke the rule that it is named after, and was caught there."""
    text = "selftest: " if error is None else r"page fault \(#PF\)"

    def check(run):
        panics(text)(run)
        symbols = Symbols()
        assert not any("not caught" in line or "is unknown" in line for line in run.log.lines)
        if error is None:
            assert fault_of(run) is None
            assert symbols.at(calls(run)[-2]) == "selftest_run", run.describe()
            return
        code, address = fault_of(run)
        rip = int(next(filter(None, map(_RIP.search, run.log.panics))).group(1), 16)
        assert code == error, run.describe()
        assert {
            "write-text": lambda: symbols.at(rip) == "write_text"
            and symbols.at(address) == "do_panic",
            "write-rodata": lambda: address == symbols.address("lu_version"),
            "run-data": lambda: rip == address and symbols.at(address) == "code",
            "run-ram": lambda: rip == address and DIRECT_MAP <= address < DIRECT_MAP + (512 << 20),
            "null": lambda: address == 8 and symbols.at(rip) == "read_null",
            "stack": lambda: symbols.at(rip) == "overflow_stack"
            and 0 <= address - symbols.address("boot_stacks") < 4096,
        }[name](), run.describe()

    return check


_RIP = re.compile(r"rip=([0-9a-f]{16})")


def refused_for(pattern):
    """molt goes on after an image that it did not load, and says why."""

    def check(run):
        assert not run.log.panics and not run.log.ok
        assert len(run.log.refusals) == 1, run.describe()
        assert re.search(pattern, run.log.refusals[0]), run.describe()
        assert run.log.memory[-1] == run.log.memory[0]

    return check


def rights(run):
    """What an ordinary domain and ring 3 may not call was tried."""
    texts = run.log.guests["probe"]
    for what in ("numbers", "control calls from an ordinary domain", "ring 3", "pointers"):
        assert any(text.startswith(f"PASS: hypercall: {what}: ") for text in texts), what


def watchdog_ticks(images, exact):
    """Each image counted the NMIs of four periods, and none after it had stopped them. Both are
    exact on Bochs alone: QEMU sends a last one, and measures the TSC by the host's time."""

    def check(run):
        found = [text for text in run.log.molt if text.startswith("selftest: watchdog: ")]
        assert len(found) == images, run.describe()
        for text in found:
            match = re.fullmatch(r".*NMIs in 240 ms: (\d+), then stopped: (\d+)", text)
            running, stopped = map(int, match.groups())
            assert (running, stopped) == (4, 0) if exact else running >= 2 and stopped <= 1, text
        assert not any("NMI at" in line for line in run.log.lines), run.describe()

    return check


def crashes_apart(run):
    """Each guest ended in its own way, for a reason that is given."""
    for name, (_, code) in CRASHES.items():
        end = next(end for end in run.log.ends if end.name == name)
        assert end.code == code, end
        assert code is not None or end.reason, end


def lacks(text):
    """molt names what the CPU has not; it goes on without virtualization."""

    def check(run):
        assert any(line.startswith("molt: hvm:") and text in line for line in run.log.lines), \
            run.describe()

    return check


def wall_clock(run):
    """molt reads the host's clock chip: a day or less from what the emulator began with, whatever
    the emulator's time zone."""
    found = [re.fullmatch(r"molt: wall clock: (\d+) seconds since 1970", line)
             for line in run.log.lines]
    times = [int(match[1]) for match in found if match]
    assert len(times) == 1 and abs(times[0] - BOCHS_DATE) < 86400, run.describe()


def refused_with_reasons(run):
    assert len(run.log.refusals) > 30 and all(run.log.refusals), run.describe()
    assert len(run.log.ok) == 1


# --- the table ---

UPDATED = [ticks_in_order, images_take_turns]
MEMORY = [images_take_turns, no_frame_lost]
FOUR = ["worker1", "worker2", "worker3", "worker4"]


def selftest(name, engine):
    return Case(f"selftest-{name}", engine, guests=[HELLO], append=f"selftest={name}",
                fails={"panic", "end"}, checks=[caught(name, SELFTESTS[name])], timeout=30,
                seconds=1)


def no_boot(name, append, text, phase="boot: early", **more):
    """molt gives up before there are guests."""
    return Case(name, "tcg", guests=[HELLO], append=append,
                fails={"panic", "machine:failed", "end", "guest:hello"},
                checks=[panics(text, phase)], seconds=1, **more)


def not_loaded(name, append, text, guests=(CONTROL,), **more):
    """The update is refused; without virtualization molt itself asked for it, and ends."""
    return Case(name, "tcg", guests=list(guests), append=append, updates=1,
                fails={"machine:failed", "updates", "end"},
                checks=[refused_for(text), molt_line("end failed")], seconds=1, **more)


CASES = [
    # CPUs of the host: both ways to reach them, both firmwares, fewer than there are
    *(Case(f"{count}-x2APIC", "bochs", cpus=count, guests=[BRIEF],
           checks=[cpus(count, "x2APIC"), all_exited("hello")], seconds=2 * count)
      for count in (2, 4)),
    *(case for count in (1, 4) for case in both(
        f"{count}-xAPIC", cpus=count, append="apic=xapic", guests=[BRIEF],
        checks=[cpus(count, "xAPIC"), all_exited("hello")], seconds=2 * count)),
    *(Case(f"{count}-xAPIC", "tcg", firmware, cpus=count, guests=[HELLO], updates=1, interval=20,
           checks=[cpus(count, "xAPIC"), no_frame_lost], seconds=8 if firmware == "uefi" else 3)
      for count in (1, 2, 4) for firmware in ("bios", "uefi")),
    Case("64-xAPIC", "tcg", cpus=64, guests=[HELLO], updates=1, interval=20,
         append="lu_deadline=30000",  # 64 threads on the test's few cores
         checks=[cpus(64, "xAPIC"), no_frame_lost], seconds=6),
    Case("some-cpus", "tcg", cpus=4, guests=[HELLO], updates=1, interval=20, append="cpus=2",
         checks=[cpus(2, "xAPIC")], seconds=2),
    Case("some-cpus", "bochs", cpus=4, guests=[BRIEF], append="cpus=3",
         checks=[cpus(3, "x2APIC"), all_exited("hello")], seconds=4),
    Case("cpus-not-enabled", "tcg", guests=[HELLO], updates=1, interval=20,
         extra=["--qemu-arg=-smp", "--qemu-arg=2,maxcpus=4"],
         checks=[cpus(2, "xAPIC"), no_frame_lost], seconds=2),
    Case("cpus-malformed", "tcg", cpus=2, guests=[HELLO], updates=1, interval=20,
         append="cpus=none",
         checks=[cpus(2, "xAPIC"), molt_line('"none" is no number of CPUs')], seconds=2),
    # domains own memory but do not run: molt updates itself
    Case("updates", "tcg", cpus=1, updates=10, interval=20, guests=[CONTROL, *WORKERS],
        checks=[images_take_turns, no_frame_lost]),
    Case("updates-4-cpus", "tcg", cpus=4, mem="2G", updates=10, interval=20,
        guests=[CONTROL, *WORKERS], checks=[images_take_turns, no_frame_lost]),
    Case("updates", "tcg", "uefi", updates=10, interval=20, guests=[CONTROL, *WORKERS],
        checks=[images_take_turns, no_frame_lost], timeout=90, seconds=20),
    Case("updates-4-cpus", "tcg", "uefi", cpus=4, mem="5G", updates=5, interval=20,
        guests=[CONTROL, HELLO], checks=[images_take_turns, no_frame_lost], timeout=90, seconds=20),
    Case("fragments", "tcg", mem="1G", updates=5, interval=20, append=FRAGMENTS,
        guests=[CONTROL, *WORKERS], checks=[images_take_turns, no_frame_lost, bad_pages(600)]),
    Case("audit", "tcg", cpus=2, updates=4, interval=50, append="audit=update " + FRAGMENTS,
        guests=[CONTROL, *RANDOM[1:]], checks=[images_take_turns, audited(1), no_frame_lost]),
    Case("no-ept", "bochs", updates=2, interval=20, guests=[CONTROL, HELLO],
        extra=["--cpu-model", "core2_penryn_t9600"],
        checks=[lacks("lacks EPT with 4 levels"), images_take_turns, no_frame_lost], seconds=8),
    Case("no-real-mode", "bochs", updates=2, interval=20, guests=[CONTROL, HELLO],
        extra=["--cpu-model", "corei5_lynnfield_750"],
        checks=[lacks("lacks unrestricted guest"), images_take_turns, no_frame_lost], seconds=8),
    Case("no-nested-paging", SVM, updates=2, interval=20, guests=[CONTROL, HELLO],
         extra=["--cpu-model", "max,-npt,+svm"],
         checks=[lacks("lacks nested paging"), images_take_turns, no_frame_lost], seconds=2),
    # guests run, on either virtualization
    Case("no-xsave", "bochs", updates=3, interval=20,
        guests=[CONTROL, WORKERS[0], PLAIN32, guest("probe", "mem=32M")],
        extra=["--cpu-model", "corei5_arrandale_m520"],
        checks=[*UPDATED, all_exited("control", "worker1", "plain32", "probe"), no_frame_lost],
        seconds=10),
    Case("no-xsave", SVM, updates=3, interval=20,
        guests=[CONTROL, WORKERS[0], PLAIN32, guest("probe", "mem=32M")],
        extra=["--cpu-model", "max,-xsave"],
        checks=[*UPDATED, all_exited("control", "worker1", "plain32", "probe"), no_frame_lost]),
    *both("boot", guests=[guest("hello", "mem=20M", cmdline="seconds=2")],
          checks=[all_exited("hello"), wall_clock]),
    Case("boot", SVM, "uefi", cpus=2, guests=[guest("hello", "mem=20M", cmdline="seconds=1")],
         checks=[all_exited("hello"), wall_clock, cpus(2, "xAPIC"), no_frame_lost], seconds=8),
    *both("audit", cpus=2, updates=3, interval=100, append="audit=memory",
          guests=[CONTROL_AUDIT, guest("plain32", "mem=18M"), HELLO],
          checks=[*UPDATED, audited(3), all_exited("control", "plain32", "hello"), no_frame_lost],
          timeout=200, seconds=25),
    *both("stream-versions", cpus=2, updates=12, interval=100, images=THREE,
          append="audit=update", guests=[CONTROL_THREE, *WORKERS[:2]],
          checks=[*UPDATED, both_streams, audited(1), all_exited("control", "worker1", "worker2"),
                  no_frame_lost, nothing_leaks], timeout=120, seconds=15),
    *both("updates", updates=100, interval=100, mem="768M", guests=[CONTROL_BOTH_ALONE, *WORKERS],
          checks=[*UPDATED, all_exited("control", *FOUR), no_frame_lost, nothing_leaks],
          timeout=300, seconds=40, svm={"updates": 20, "seconds": 25}),
    Case("updates", SVM, "uefi", updates=5, interval=100, guests=[CONTROL, WORKERS[0]],
        checks=[*UPDATED, all_exited("control", "worker1"), no_frame_lost], timeout=120,
        seconds=20),
    *both("updates-4-cpus", cpus=4, updates=5, interval=100, guests=[CONTROL, WORKERS[0], PLAIN32],
          checks=[*UPDATED, all_exited("control", "worker1", "plain32"), host_cpus(4)],
          timeout=150, seconds=20),
    *both("updates-2-xAPIC", cpus=2, updates=3, interval=50, append="apic=xapic",
          guests=[CONTROL, WORKERS[0]],
          checks=[*UPDATED, all_exited("control", "worker1"), cpus(2, "xAPIC")],
          timeout=100, seconds=10, svm={"updates": 10}),
    *both("updates-32-and-64-bit", updates=10, interval=50,
          guests=[CONTROL_BOTH, PLAIN32, WORKER64, HELLO],
          checks=[*UPDATED, all_exited("control", "plain32", "worker64", "hello")],
          timeout=120, seconds=12),
    *both("fragments", updates=3, interval=50, append=FRAGMENTS, guests=[CONTROL, WORKERS[0]],
          checks=[*UPDATED, bad_pages(600), all_exited("control", "worker1")], seconds=8),
    *both("probe", guests=[guest("probe", "mem=32M", cmdline="strio=1")],
          checks=[all_exited("probe"), rights], timeout=120, seconds=6),
    *both("end-without-one", append="end=control",
          guests=[guest("hello", "mem=20M", "control", cmdline="seconds=1"),
                  guest("deaf", "mem=20M", file="hello", cmdline="deaf=1")],
          fails={"unfinished:deaf"}, checks=[all_exited("hello"), ended_well], seconds=15),
    *both("modes", guests=[guest("modes", "mem=32M")], checks=[all_exited("modes")]),
    Case("modes-ryzen", "bochs", guests=[guest("modes", "mem=32M")], extra=RYZEN,
         checks=[all_exited("modes")]),
    *both("crashes", updates=3, interval=300,
          guests=[CONTROL, WORKERS[0]]
          + [guest(name, "mem=18M", file="crash", cmdline=words)
             for name, (words, _) in CRASHES.items()],
          fails={"domain:" + name for name, (_, code) in CRASHES.items() if code != 0} | {"end"},
          checks=[*UPDATED, crashes_apart, all_exited("control", "worker1")], seconds=8),
    *both("refusals", append="end=control",
          guests=[guest("refuse", "mem=64M", "control", NEXT), WORKERS[0]],
          checks=[ticks_in_order, refused_with_reasons, all_exited("refuse", "worker1")],
          timeout=120, seconds=15),
    # domains by hypercall, and updates in the middle of their lives
    *(case for name, count, updates in (("domains", 1, 18), ("domains-2-cpus", 2, 8))
      for case in both(
          name, cpus=count, updates=updates, interval=100, append="end=control",
          guests=[guest("control", "mem=48M", "control", "module=" + built("guests/worker.elf"),
                        file="domains")],
          checks=[images_take_turns, all_given_back, lives_of_a_child, all_exited("control")],
          timeout=150, seconds=18, svm={"seconds": 25})),
    # SVM with few ASIDs and no optional features; what Bochs's AMD CPU has besides is used there
    Case("updates-plain", SVM, cpus=2, updates=5, interval=100, append="svm=plain",
        guests=[CONTROL, *WORKERS[:3]],
        checks=[*UPDATED, molt_line("svm: 3 ASIDs"), all_exited("control", *FOUR[:3])],
        timeout=150, seconds=15),
    Case("updates-ryzen", "bochs", updates=3, interval=100, extra=RYZEN, guests=ON_RYZEN,
        checks=[*UPDATED, molt_line("svm: 32768 ASIDs, flush by ASID, next RIP"),
                all_exited("control", "worker64", "plain32"), no_frame_lost],
        timeout=100, seconds=10),
    Case("updates-ryzen-plain", "bochs", updates=3, interval=100, extra=RYZEN, guests=ON_RYZEN,
        append="svm=plain",
        checks=[*UPDATED, molt_line("svm: 3 ASIDs"),
                all_exited("control", "worker64", "plain32"), no_frame_lost],
        timeout=100, seconds=10),
    # two guests that print all the time, one that has a line now and then
    *both("flood", updates=12, interval=200, guests=flood(100),
          checks=[images_take_turns, lines_in_order("flood1", 800), lines_in_order("flood2", 500),
                  lines_in_order("flood3", 60),
                  all_exited("control", "flood1", "flood2", "flood3")],
          timeout=150, seconds=20, svm={"guests": flood(1000 * LATE), "append": "end=all"}),
    # memory is the same, byte for byte
    Case("digest", "tcg", updates=3, interval=20, append="digest", guests=RANDOM,
        checks=[*MEMORY, digests_equal], seconds=6),
    # bad pages
    Case("bad-pages-above-4G", "tcg", mem="6G", updates=3, interval=20,
        append="digest " + ABOVE_4G, guests=RANDOM,
        checks=[*MEMORY, digests_equal, above_4g, bad_pages(ABOVE_4G_FRAMES)], seconds=8),
    Case("bad-pages-in-region", "tcg", updates=3, interval=20, append="digest " + IN_REGION,
        guests=RANDOM, checks=[*MEMORY, digests_equal, bad_pages(IN_REGION_FRAMES)], seconds=6),
    *both("bad-pages-in-region", updates=4, interval=100, append=IN_REGION,
          guests=[CONTROL, WORKERS[0]],
          checks=[*UPDATED, no_frame_lost, bad_pages(IN_REGION_FRAMES),
                  all_exited("control", "worker1")]),
    no_boot("bad-handover-page", FIXED + "badpage=10000",
        "the handover page is a bad page"),
    no_boot("bad-handover-page-in-range", FIXED + "badpage=1-fff,fff0-10005",
        "the handover page is a bad page"),
    not_loaded("bad-arena-A", FIXED + "badpage=10001-107ff",
        r"bad pages leave no room: image \d+ KiB .*; needs liveupdate=\d+M \(code 9\)"),
    not_loaded("bad-arena-B", FIXED + "badpage=10802-10fff",
        r"bad pages leave no room: image \d+ KiB .*; needs liveupdate=\d+M \(code 9\)"),
    Case("bad-pages-malformed", "tcg", guests=[HELLO], updates=1, interval=20,
        append="autoupdate=1,20 badpage=xyz,30-20,8000,1234567890abc", seconds=1,
        checks=[bad_pages(1), molt_line('badpage: "xyz" is no MFN'),
                molt_line('badpage: "30-20" is no MFN'), molt_line('"1234567890abc" is no MFN')]),
    # the region
    *(Case("region-" + value, "tcg", updates=2, interval=20, append="liveupdate=" + value,
           guests=[CONTROL, HELLO], checks=[*MEMORY, region_is(*place)], seconds=1)
      for value, place in REGIONS.items()),
    # GRUB puts the image where arena A begins, so that it moves to B; modules lie below 1 MiB
    Case("region-around-the-image", "tcg", "uefi", updates=2, interval=20, guests=[HELLO],
         append="liveupdate=8M@32M", extra=["--broken-memory", "1M-32M"],
         checks=[*MEMORY, region_is(32 << 20, 8),
                 molt_line("liveupdate: region 0x2000000-0x2800000 .* arena B$")],
         timeout=90, seconds=12),
    *(no_boot("no-region-" + value, "liveupdate=" + value, text)
      for value, text in BAD_REGIONS.items()),
    no_boot("no-region-for-frametable", "liveupdate=8M",
        r"arena is too small for \d+ KiB of frametable", "boot: memory", mem="500G"),
    not_loaded("region-too-small-to-update", "liveupdate=8M",
        r"does not fit: image \d+ KiB and \d+ KiB to run, arena 4096 KiB; needs liveupdate=12M",
        mem="400G"),
    # protections and the panic path
    *(selftest(name, "tcg") for name in SELFTESTS),
    *(selftest(name, "bochs") for name in ("panic", "stack", "write-text")),
    # a timer's NMIs, which watch an update on one CPU: under each image, in both APIC modes
    *(Case("watchdog-" + mode, "bochs", updates=2, interval=50, guests=[CONTROL],
           append=f"selftest=watchdog apic={mode}", checks=[watchdog_ticks(3, True)], seconds=3)
      for mode in ("xapic", "x2apic")),
    *(Case("watchdog", "tcg", firmware, updates=1, interval=20, guests=[HELLO],
           append="selftest=watchdog", checks=[watchdog_ticks(2, False)], seconds=5)
      for firmware in ("bios", "uefi")),
    Case("no-watchdog", "tcg", updates=1, interval=20, guests=[HELLO], append="selftest=watchdog",
         extra=["--qemu-arg=-M", "--qemu-arg=q35,memory-backend=ram,pit=off"],
         checks=[molt_line("watchdog: no timer can watch an update: the PIT does not count")],
         seconds=2),
    # many updates
    Case("updates-500", "bochs", updates=500, interval=200, mem="768M",
        guests=[CONTROL_BOTH, *WORKERS],
        checks=[*UPDATED, all_exited("control", *FOUR), no_frame_lost, nothing_leaks],
        timeout=1800, soak=True),
]


def parameter(case):
    return pytest.param(case, id=str(case), marks=[pytest.mark.soak] if case.soak else [])


@pytest.mark.parametrize("case", map(parameter, CASES))
def test_case(case, case_run):
    case_run.expect(case.fails)
    for check in case.checks:
        check(case_run)
