# SPDX-License-Identifier: Apache-2.0
"""tools/bench: a whole run, and what it makes of figures that miss their bounds."""

import importlib.machinery
import importlib.util
import json
import os
import subprocess

from conftest import ROOT, slot

BENCH = os.path.join(ROOT, "tools", "bench")


def load():
    loader = importlib.machinery.SourceFileLoader("bench", BENCH)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench", loader))
    loader.exec_module(module)
    return module


def figures(boot=1, blackout=1, size=1, ratio=1):
    update = {"blackout": {"median": 1, "min": 1, "max": blackout}}
    images = {"molt.elf": size}
    linux = {"ratio": ratio}
    return {"boot": boot, "one guest": update, "four workers": update, "images": images,
            "linux": linux}


def test_bounds__each_figure__is_held_against_its_own():
    bench = load()
    assert all(value < bound for _, value, bound, _ in bench.bounds(figures()))
    for key, value, missed in (
        ("boot", 20_000_000, 1), ("blackout", 1_000_000, 2), ("size", 262_144, 1),
        ("ratio", 1.5, 1),
    ):
        found = [row for row in bench.bounds(figures(**{key: value})) if row[1] >= row[2]]
        assert len(found) == missed, found


def test_table__columns__are_aligned():
    lines = list(load().table([["a", "1"], ["bbb", "22", "3"]]))
    assert lines == ["a     1", "bbb  22  3"]


def test_bench__run__all_bounds_are_met():
    with slot():
        done = subprocess.run(
            [BENCH], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "blackout, 0.1.0 to 0.2.0" in done.stdout and "MISSED" not in done.stdout
    with open(os.path.join(ROOT, "build", "bench.json"), encoding="utf-8") as file:
        found = json.load(file)
    assert all(bound["met"] for bound in found["bounds"].values()) and len(found["bounds"]) == 6
    assert set(found["exits"]) == {"cpuid", "out", "vmcall", "info"}
    assert len(found["one guest"]["directions"]) == 2
    assert 0 < found["linux"]["ratio"] < 1.5 and found["linux"]["exits"]["total"] > 0
