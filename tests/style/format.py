#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Formatting by clang-format 14: tests/style/format.py [--fix] [FILE...]

Left alone is what clang-format 14 gets wrong: groups of members in LAYOUT(...) (taken for an
expression), `class` as a name (taken for C++), a complement behind a cast.
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
_ODD = re.compile(r"\bclass(\+\+|;)|_t\)~")


def ranges_to_format(lines):
    """Ranges (first, last), counted from 1, of the lines that clang-format understands."""
    ranges = []
    first = 1
    depth = 0
    for number, line in enumerate(lines, 1):
        code = _COMMENT.sub("", line)
        inside = depth > 0
        if inside or _LAYOUT.match(line):
            depth += code.count("(") - code.count(")")
        elif not _ODD.search(code):
            continue
        if first < number:
            ranges.append((first, number - 1))
        first = number + 1
    if first <= len(lines):
        ranges.append((first, len(lines)))
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
