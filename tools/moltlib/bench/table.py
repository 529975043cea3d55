# SPDX-License-Identifier: Apache-2.0
"""Figures as text."""

from moltlib.bench.plan import GROUPS


def number(value):
    if value is None:
        return ""
    return f"{value:,}"


def aligned(rows):
    """Lines of rows of strings: numbers stand to the right, the first and last column do not."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1])]
        yield "  ".join([*cells, row[-1]]).rstrip()


def figures_table(figures):
    """The lines of one table of all figures, by groups."""
    rows = []
    for group, title in GROUPS.items():
        members = [figure for figure in figures if figure.group == group]
        if not members:
            continue
        rows.append([title, "median", "p99", "min", "max", "unit"])
        rows += [
            [f"  {f.name}", *map(number, (f.value, f.p99, f.min, f.max)), f.unit] for f in members
        ]
        rows.append([""] * 6)
    return list(aligned(rows[:-1])) if rows else []


def bounds_table(found):
    rows = [["bound", "value", "below", "", "unit"]]
    rows += [
        [f"  {bound['name']}", number(bound["value"]), number(bound["below"]),
         "ok" if bound["met"] else "MISSED", bound["unit"]]
        for bound in found
    ]
    return list(aligned(rows))
