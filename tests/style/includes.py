#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Layering: who may include what, and that pure code has no assembly in it.

Each row of LAYERS: pattern of paths, folders of include/ that these may use, and whether they are
pure (host tests run them: no asm/, no inline assembly). The first row that matches holds.
"""

import os
import re
import sys
from fnmatch import fnmatchcase

import tree

STANDARD = {"stdint.h", "stddef.h", "stdbool.h", "stdarg.h"}
INTERNAL = {"hv", "hw", "public"}
# Prefix of another project's headers, and the one file that may know them.
FOREIGN = {"bearssl": "core/crypto.c"}

LAYERS = (
    ("include/public/*", set(), True),
    ("include/hw/*", set(), True),
    ("include/hv/*", INTERNAL, True),
    ("include/asm/*", INTERNAL | {"asm"}, False),
    ("core/main.c", INTERNAL | {"asm"}, True),
    ("core/panic.c", INTERNAL | {"asm"}, True),
    ("core/fault.c", INTERNAL | {"asm"}, True),
    ("boot/place.c", INTERNAL | {"asm"}, True),
    ("boot/*", INTERNAL, True),
    ("core/*", INTERNAL, True),
    ("mm/*", INTERNAL, True),
    ("lu/*", INTERNAL, True),
    ("dev/*", INTERNAL, True),
    ("tools/moltctl/*", {"public"}, False),
    ("vmx/*", INTERNAL | {"asm"}, False),
    ("svm/*", INTERNAL | {"asm"}, False),
    ("arch/*", INTERNAL | {"asm"}, False),
)

_INCLUDE = re.compile(r'\s*#\s*include\s+([<"])([^>"]+)[>"]')
_ASM = re.compile(r"\b(__asm__|asm)\b")
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def includes(text):
    """(line number, "<" or '"', name) of every #include."""
    for number, line in enumerate(text.split("\n"), 1):
        match = _INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


def wrong_include(path, kind, name, folders):
    """Why this #include is wrong; "" if it is not."""
    if kind == "<" and path.startswith("tools/moltctl/"):
        return ""  # a program for Linux
    if kind == "<":
        if name in STANDARD:
            # Tables of hardware constants and contracts have fixed-width types and nothing else.
            plain = path.startswith(("include/public/", "include/hw/"))
            return "only <stdint.h> belongs here" if plain and name != "stdint.h" else ""
        if any(path == home and name.startswith(prefix) for prefix, home in FOREIGN.items()):
            return ""
        return f"<{name}> is no freestanding header"
    folder, slash, _ = name.partition("/")
    if not slash:
        own = os.path.join(os.path.dirname(path), name)
        private = not path.startswith("include/") and os.path.isfile(own)
        return "" if private else f'"{name}" is no private header of this folder'
    if folder in folders:
        return "" if os.path.isfile(os.path.join("include", name)) else f'"{name}" does not exist'
    return f'"{name}" is not for this layer'


def check_layers(path, text, folders, pure):
    found = []
    for number, kind, name in includes(text):
        why = wrong_include(path, kind, name, folders)
        if why:
            found.append((number, why))
    code = _COMMENT.sub(lambda match: "\n" * match.group().count("\n"), text)
    for number, line in enumerate(code.split("\n"), 1):
        if pure and _ASM.search(_STRING.sub('""', line)):
            found.append((number, "inline assembly in pure code"))
        if path.startswith("include/hw/") and "static inline" in line:
            found.append((number, "code among hardware constants"))
    return found


def check_foreign(path, text):
    """Everywhere: what one file wraps no other one sees."""
    return [
        (number, f"<{name}> is for {home} only")
        for number, _, name in includes(text)
        for prefix, home in FOREIGN.items()
        if name.startswith(prefix) and path != home
    ]


def check_own_header(path, text):
    """A source file includes its own header first: so every header proves to stand alone."""
    stem = os.path.splitext(os.path.basename(path))[0]
    own = f"hv/{stem}.h"
    names = [(number, name) for number, _, name in includes(text)]
    if path.endswith(".c") and (any(name == own for _, name in names)) and names[0][1] != own:
        return [(names[0][0], f'"{own}" should be included first')]
    return []


def check_tests(path, text):
    """Tests and payloads never reach into arch/, and payloads see public/ of include/ alone."""
    found = []
    for number, kind, name in includes(text):
        folder, slash, _ = name.partition("/")
        if kind == "<" or not slash:
            continue
        if path.startswith("tests/guests/") and folder in ("hv", "hw", "asm"):
            found.append((number, f'"{name}": payloads use public/ only'))
        elif folder == "asm" or "/arch/" in name:
            found.append((number, f'"{name}": host tests stay above the seam'))
    return found


def main():
    bad = 0
    for path in tree.files(".c", ".h"):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        row = next((row for row in LAYERS if fnmatchcase(path, row[0])), None)
        if path.startswith("tests/"):
            found = check_tests(path, text)
        elif row is None:
            found = [(1, "this folder has no row in LAYERS")]
        else:
            found = check_layers(path, text, *row[1:]) + check_own_header(path, text)
        for number, why in found + check_foreign(path, text):
            print(f"{path}:{number}: {why}")
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
