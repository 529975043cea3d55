# SPDX-License-Identifier: Apache-2.0
"""The command line of tools/bench."""

import argparse
import concurrent.futures
import json
import os
import sys
import tempfile
import time

from moltlib.bench import host, packages, picture, plan, table
from moltlib.bench.figure import Failed
from moltlib.options import BUILD, UsageError

JSON = os.path.join(BUILD, "bench.json")
SVG = os.path.join(BUILD, "bench.svg")


def measure(name, case):
    """(Figures of a case, what went wrong or "")."""
    started = time.monotonic()
    wrong = ""
    figures = []
    with tempfile.TemporaryDirectory(prefix="molt-") as workdir:
        try:
            figures = list(case(workdir))
        except (Failed, UsageError, OSError) as error:
            wrong = f"{name}: {error}"
    for figure in figures:
        figure.case = name
    seconds = time.monotonic() - started
    print(f"bench: {name}: {'failed' if wrong else 'ok'}, {seconds:.0f} s", file=sys.stderr,
          flush=True)
    return figures, wrong


def measure_all(cases, jobs):
    """(Figures of all cases, what went wrong), `jobs` of them at a time: emulated instructions do
    not depend on the load."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        found = list(pool.map(measure, cases.keys(), cases.values()))
    figures = [figure for some, _ in found for figure in some]
    return figures + list(plan.derived(figures)), [wrong for _, wrong in found if wrong]


def to_json(figures, bounds, wrong):
    return {
        "processor": host.cpu(),
        "versions": packages.versions(),
        "figures": [figure.to_json() for figure in figures],
        "bounds": bounds,
        "failed": wrong,
    }


def write(path, text):
    os.makedirs(BUILD, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def parse(argv):
    names = plan.cases()
    parser = argparse.ArgumentParser(prog="bench", description="Figures of molt and its peers.")
    parser.add_argument("--only", action="append", choices=names, metavar="CASE",
                        help="only this case; repeat for more; build/ keeps what was there")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N",
                        help="so many cases at a time (%(default)s: one for each processor)")
    parser.add_argument("--list", action="store_true", help="the names of all cases")
    return parser.parse_args(argv), names


def main(argv):
    args, cases = parse(argv)
    if args.list:
        print("\n".join(cases))
        return 0
    if args.only:
        cases = {name: cases[name] for name in args.only}
    figures, wrong = measure_all(cases, args.jobs)
    bounds = list(plan.bounds(figures))
    print("\n".join([*table.figures_table(figures), "", *table.bounds_table(bounds)]))
    if not args.only:
        write(JSON, json.dumps(to_json(figures, bounds, wrong), indent=2) + "\n")
        picture.draw(figures, SVG)
        print(f"\nwritten to {os.path.relpath(JSON)} and {os.path.relpath(SVG)}")
    for text in wrong:
        print(f"bench: {text}", file=sys.stderr)
    missed = [bound["name"] for bound in bounds if not bound["met"]]
    for name in missed:
        print(f"bench: MISSED: {name}", file=sys.stderr)
    return 1 if wrong or missed else 0
