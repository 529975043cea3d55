#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Formatting by clang-format 14: tests/style/format.py [--fix] [FILE...]

Left alone are groups of members in LAYOUT(...), which clang-format takes for an expression; tables
of rows in braces, which it packs; and what version 14 gets wrong: `class` as a name (taken for
C++), a complement behind a cast.
Prints the first line of each place that differs; exit code 1 if there is one.
"""

import concurrent.futures
import os
import re
import subprocess
import sys

import tree

TOOL = os.environ.get("CLANG_FORMAT", "clang-format-14")
_COMMENT = re.compile(r"/\*.*?\*/")
_LAYOUT = re.compile(r"\s*LAYOUT(_TIGHT)?\(")
_TABLE = re.compile(r"( *).*\] = \{$")
_ODD = re.compile(r"\bclass(\+\+|;)|_t\)~")


def table_at(lines, at):
    """Indices of the lines of the table whose first row follows lines[at]; empty: there is none."""
    match = _TABLE.match(lines[at])
    if not match or not lines[at + 1].lstrip().startswith("{"):
        return range(0)
    indent = match.group(1)
    first = at
    if lines[at].startswith(indent + "}"):  # its type is a nameless structure, just above
        while first > 0 and not re.match(indent + r"(\w.*)?struct( \w+)? \{$", lines[first]):
            first -= 1
    end = next((i for i in range(at, len(lines)) if lines[i] == indent + "};"), at)
    return range(first, end + 1)


def left_alone(lines):
    """Indices of the lines that are not for clang-format."""
    found = set()
    depth = 0  # of parentheses in a LAYOUT
    for at, line in enumerate(lines):
        code = _COMMENT.sub("", line)
        if depth > 0 or _LAYOUT.match(line):
            depth += code.count("(") - code.count(")")
            found.add(at)
        elif _ODD.search(code):
            found.add(at)
        else:
            found.update(table_at(lines, at))
    return found


def ranges_to_format(lines):
    """Ranges (first, last), counted from 1, of the lines for clang-format."""
    ranges = []
    first = 1
    for at in sorted(left_alone(lines)) + [len(lines)]:
        if first <= at:
            ranges.append((first, at))
        first = at + 2
    return ranges


def formatted(path):
    """(text of the file, text as it should be)"""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    lines = [f"--lines={first}:{last}" for first, last in ranges_to_format(text.split("\n")[:-1])]
    done = subprocess.run(
        [TOOL, "--style=file", *lines, path], capture_output=True, text=True, check=True
    )
    return text, done.stdout


def first_difference(have, want):
    for number, (a, b) in enumerate(zip(have.split("\n"), want.split("\n")), 1):
        if a != b:
            return number, b
    return have.count("\n"), ""


def main(arguments):
    fix = "--fix" in arguments
    paths = [path for path in arguments if path != "--fix"] or tree.files(".c", ".h")
    bad = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, (have, want) in zip(paths, pool.map(formatted, paths)):
            if have == want:
                continue
            if fix:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(want)
                print(f"{path}: formatted")
                continue
            number, line = first_difference(have, want)
            print(f"{path}:{number}: clang-format wants: {line.strip()}")
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
