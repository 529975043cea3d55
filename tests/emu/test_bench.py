# SPDX-License-Identifier: Apache-2.0
"""tools/bench: what it makes of logs and figures, and one case from end to end."""

import json
import os
import subprocess

import pytest
from conftest import ROOT, slot
from moltlib.bench import host, main, packages, peers, picture, plan, runs, table
from moltlib.bench.figure import BOCHS, RATIO, TCG, Failed, Figure, percentile, spread
from moltlib.log import PHASES, Log

BENCH = os.path.join(ROOT, "tools", "bench")


def update_line(n, blackout, back=False):
    ends = ("0.2.0/b", "0.1.0/a") if back else ("0.1.0/a", "0.2.0/b")
    phases = " ".join(f"{phase}={n * 10 + i}" for i, phase in enumerate(PHASES))
    return (f"molt: update n={n} ok from={ends[0]} to={ends[1]} stream=2 blackout={blackout}"
            f" {phases}\n")


def figure(group, name, value, **others):
    return Figure(group, name, BOCHS, value, **others)


def by_name(figures):
    return {f.name: f for f in figures}


@pytest.mark.parametrize("values, percent, wanted", [
    (range(1, 101), 99, 99), (range(1, 101), 100, 100), (range(1, 101), 50, 50), ([7], 99, 7),
    ([3, 1, 2], 99, 3), ([3, 1, 2], 1, 1), (range(1, 201), 99, 198),
])
def test_percentile__values__smallest_that_so_many_do_not_exceed(values, percent, wanted):
    assert percentile(values, percent) == wanted


def test_spread__values__each_statistic():
    found = spread("ram", "name", TCG, [5, 1, 3, 100], x=2)
    assert (found.value, found.p99, found.min, found.max, found.count) == (4, 100, 1, 100, 4)
    assert (found.unit, found.x, found.highest) == (TCG, 2, 100)
    assert figure("image", "one", 7).highest == 7


def test_phase_figures__log_with_both_directions__figures_of_each():
    text = update_line(1, 100) + update_line(2, 300, back=True) + update_line(3, 120)
    found = by_name(runs.phase_figures("guests", Log(text.encode())))
    assert found["guests: blackout"].value == 120 and found["guests: blackout"].max == 300
    assert found["guests: save"].value == 20 and found["guests: resume"].max == 34
    assert found["guests: blackout, 0.1.0 to 0.2.0"].value == 110
    assert found["guests: blackout, 0.2.0 to 0.1.0"].count == 1
    assert len(found) == 1 + len(PHASES) + 2


def test_phase_figures__no_updates__failed():
    with pytest.raises(Failed):
        runs.phase_figures("guests", Log(b"molt: end ok\n"))


def test_exit_figures__loop__taken_off():
    lines = ["exits seed=1", "exit none min=2 max=9", "exit cpuid min=708 max=3000",
             "exit ipi min=2000 max=2001"]
    found = by_name(runs.exit_figures(lines, "molt"))
    assert {name: f.value for name, f in found.items()} == {
        "molt: CPUID": 706, "molt: IPI to another CPU, until its handler ran": 1998}
    assert len(runs.exit_figures(lines, "molt", ("ipi",))) == 1
    with pytest.raises(Failed):
        runs.exit_figures(lines[2:], "molt")


def test_nested_figures__both_levels__each_by_its_name():
    text = "kvm: none=1 cpuid=1008 out=9\nmolt: cpuid=19076 info=7\nother: cpuid=3\n"
    assert {f.name: f.value for f in peers.nested_figures(text)} == {
        "KVM: CPUID": 1008, "KVM: OUT to an unused port": 9, "molt under KVM: CPUID": 19076}


def test_host_figures__program_output__per_frame_and_per_extent():
    text = ("rebuild 2m extents=4 frames=2048 stream_bytes=1 check_ns=100 apply_ns=300\n"
            "bytes memory count=10 memset_ns=1000 memcpy_ns=2500\n")
    found = {f.name: f.value for f in host.figures_of(text, "ns, a processor")}
    assert found == {
        "rebuild, 2 MiB extents: per frame": 0.195, "rebuild, 2 MiB extents: per extent": 100,
        "memset of the memory: per frame": 100, "memcpy of the memory: per frame": 250}


def test_derived__series__ratio_and_slope():
    figures = [
        figure("ram", "1000 GiB: blackout", 230, x=1000, case="b"),
        figure("ram", "1 GiB: blackout", 200, x=1, case="a"),
        figure("ram", "1 GiB: boot", 900, x=1), figure("extents", "1: blackout", 100, x=1),
        figure("extents", "101: blackout", 600, x=101),
        figure("vcpus", "alone: blackout", 600, x=1),
        figure("linux", "alone, GRUB to /init", 100),
        figure("linux", "under molt, GRUB to /init", 150),
    ]
    found = {(f.group, f.name): f for f in plan.derived(figures)}
    ratio = found["ram", "blackout, most RAM to least"]
    assert (ratio.value, ratio.unit, ratio.case) == (1.15, RATIO, "a --only b")
    assert found["extents", "blackout, one more extent"].value == 5
    assert found["linux", "under molt to alone"].value == 1.5
    assert len(found) == 3


def test_bounds__value_at_the_bound__missed():
    for bound in plan.BOUNDS:
        for value, met in ((bound.below, False), (bound.below - 0.01, True)):
            found = list(plan.bounds([figure(bound.group, bound.name, value)]))
            assert [row["met"] for row in found] == [met], bound
    least, most = plan.BOUNDS[0].below - 1, plan.BOUNDS[0].below + 1
    worst = figure("blackout", plan.BOUNDS[0].name, least, max=most)
    assert not next(plan.bounds([worst]))["met"], "the highest counts, not the median"


def test_bounds__figures_by_their_makers__every_bound_finds_one():
    """The names in plan.BOUNDS are those that the cases give."""
    log = Log((update_line(1, 100) + "molt: boot: 5 cycles to the first guest\n").encode())
    figures = list(plan.images(""))
    for name in ("1 small guest", "5 small guests", "Linux, 1 vCPU on 1 CPU",
                 "Linux, 4 vCPU on 2 CPU"):
        figures += runs.phase_figures(name, log)
    figures += [figure("ram", f"{x} GiB: blackout", 1, x=x) for x in (1, 2)]
    figures += [figure("linux", "alone, GRUB to /init", 2),
                figure("linux", "under molt, GRUB to /init", 1),
                figure("boot", "molt, GRUB to first guest", runs.boot_cycles(log))]
    figures += plan.derived(figures)
    assert [bound.name for bound in plan.BOUNDS if not bound.found(figures)] == []


def test_table__columns__are_aligned():
    lines = list(table.aligned([["a", "1", "x"], ["bbb", "2,345", "yy"]]))
    assert lines == ["a        1  x", "bbb  2,345  yy"]


def test_figures_table__groups__in_order_and_with_units():
    lines = table.figures_table([figure("image", "file", 1000), figure("boot", "molt", 5, max=9)])
    assert [line.split()[0] for line in lines if line] == ["Boot", "molt", "Size", "file"]
    assert lines[1].endswith(BOCHS) and "1,000" in lines[-1]


def test_json__figure__has_value_unit_and_how_to_repeat(monkeypatch):
    monkeypatch.setattr(packages, "versions", lambda: {"bochs": "2.7"})
    one = spread("blackout", "guest: save", BOCHS, [1, 2, 3])
    one.case = "small-1"
    found = json.loads(json.dumps(main.to_json([one], list(plan.bounds([one])), ["why"])))
    assert set(found) == {"processor", "versions", "figures", "bounds", "failed"}
    assert found["figures"] == [{
        "group": "blackout", "name": "guest: save", "unit": BOCHS, "value": 2, "p99": 3, "min": 1,
        "max": 3, "count": 3, "case": "small-1", "repeat": "tools/bench --only small-1"}]


def test_measure_all__a_case_fails__the_others_count():
    def bad(_workdir):
        raise Failed("no emulator")

    figures, wrong = main.measure_all({"bad": bad, "good": lambda _: [figure("boot", "molt", 1)]},
                                     jobs=2)
    assert [f.case for f in figures] == ["good"] and wrong == ["bad: no emulator"]


@pytest.mark.parametrize("value, text", [
    (706, "706"), (2713, "2.71 k"), (127204, "127 k"), (78785391, "78.8 M"), (2.3e9, "2.3 G"),
    (0.114, "0.114"),
])
def test_short__numbers__three_digits(value, text):
    assert picture.short(value) == text


def test_bench__one_case__figures_with_units():
    with slot():
        done = subprocess.run([BENCH, "--only", "exits", "--only", "images"], cwd=ROOT,
                              capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "molt: CPUID" in done.stdout and BOCHS in done.stdout
    assert "MISSED" not in done.stdout + done.stderr
