# SPDX-License-Identifier: Apache-2.0
"""molt's console, typed at as a person would."""

import re

import pytest
from conftest import SVM
from test_cases import CONTROL, HELLO, WORKERS

from moltlib.log import PHASES

UPDATED = r"from=(\S+) to=(\S+) stream=\d+ blackout=(\d+) " + " ".join(
    rf"{phase}=\d+" for phase in PHASES
)
PLACES = [("bochs", "bios"), (SVM, "uefi"), ("tcg", "bios")]


@pytest.fixture(params=PLACES, ids=lambda place: "-".join(place))
def place(request):
    return request.param


@pytest.fixture
def molt(place, terminal):
    """molt with three domains, at its prompt."""
    engine, firmware = place
    words = ["--engine", engine, "--firmware", firmware, "--append", "end=never"]
    for guest in (CONTROL, WORKERS[0], HELLO):
        words += ["--guest", guest]
    child = terminal(words, f"console-{engine}-{firmware}")
    child.expect(r"molt: boot: \d+ cycles", timeout=60)
    child.type("\r")
    child.expect("molt> ")
    return child


def digests(child, names):
    child.line("digest")
    found = {}
    for name in names:
        found[name] = child.expect(rf"molt: digest {name} crc=([0-9a-f]+)\r?\n", 60).group(1)
    return found


def lives(molt, state):
    """A domain is paused, resumed, and destroyed; an update finds it paused."""
    molt.line("pause nobody")
    molt.expect('molt: "nobody": no such domain')
    molt.line("resume hello")
    molt.expect(rf"molt: domain 3 hello: it is {state}")
    molt.line("stat hello")
    molt.expect(r"molt: exits hello total=\d+")
    molt.expect(r"molt: stat hello: \d+ extents of \d+ KiB")
    written = int(molt.expect(rf"molt: stat hello: {state}, (\d+) bytes written").group(1))
    assert (written > 0) == (state == "running")
    molt.line("pause 3")
    molt.expect("molt: domain 3 hello: paused")
    molt.line("stat hello")
    written = molt.expect(r"molt: stat hello: paused, (\d+) bytes written").group(1)
    molt.line("update")
    molt.expect(rf"molt: update n=3 ok {UPDATED}\r?\n", 60)
    molt.line("stat hello")
    molt.expect(rf"molt: stat hello: paused, {written} bytes written")
    molt.line("resume hello")
    molt.expect(rf"molt: domain 3 hello: {state}")
    if state == "running":
        molt.expect(r"\[hello\] hello \d+: molt ")
    molt.line("console hello")
    molt.expect(r"molt: console: hello \(")
    molt.type("\x010")
    molt.expect(r"molt: console: molt \(")
    molt.line("destroy hello")
    molt.expect("molt: domain 3 hello: dying")
    molt.line("list")
    molt.expect("molt: domain 2 worker1: ")
    molt.expect("molt> ")
    assert "hello" not in molt.child.before
    molt.line("memory")
    molt.expect(r"molt: memory: frames=\d+ .* sum ok")
    molt.line("audit")
    molt.expect(r"molt: audit: ok frames=\d+\r?\n")


def test_console__commands__answer(molt, place):
    """In one go: every command, an update in the middle, both consoles, an orderly end."""
    engine, _ = place
    runs = engine != "tcg"
    molt.line("help")
    for command in ("help", "domains", "exits", "stat", "pause", "resume", "destroy", "console",
                    "memory", "audit", "update", "status", "log", "reset", "quit"):
        molt.expect(rf"molt: {command} +\w")
    molt.line("nonsense")
    molt.expect('molt: "nonsense": unknown command')
    molt.line("domains")
    state = "running" if runs else r"not running \(no virtualization\)"
    molt.expect(rf"molt: domain 1 control: {state}, control, 32 MiB")
    molt.expect(rf"molt: domain 2 worker1: {state}, 64 MiB")
    molt.expect(rf"molt: domain 3 hello: {state}, 20 MiB")
    molt.line("exits")
    molt.expect(r"molt: exits control total=[1-9]" if runs else "molt: exits control total=0")
    molt.line("memory")
    molt.expect(r"molt: memory: frames=\d+ .* sum ok")
    molt.line("audit")
    molt.expect(r"molt: audit: ok frames=\d+\r?\n")
    molt.line("status")
    before = molt.expect(r"molt: status: molt (\S+), .*, arena ([AB]) ")
    molt.expect(r"molt: status: updates=0 refused=0")
    molt.line("images")
    molt.expect(r"molt: image 0: .*name=molt\.elf")

    molt.expect(r"molt: image 1: .*name=molt-next\.elf")

    first = digests(molt, ["control", "worker1", "hello"])
    assert len(set(first.values())) > 1
    images = []
    for number in (1, 2):
        molt.line("update")
        done = molt.expect(rf"molt: update n={number} ok {UPDATED}\r?\n", 60)
        images.append(done.group(1, 2))
        assert int(done.group(3)) > 0
        molt.line("status")
        after = molt.expect(r"molt: status: molt (\S+), .*, arena ([AB]) ")
        assert (before.group(1) != after.group(1)) == (number % 2 == 1)
        assert (before.group(2) != after.group(2)) == (number % 2 == 1)
        molt.expect(rf"molt: status: updates={number} refused=0 last blackout={done.group(3)} ")
    assert images[0] == images[1][::-1] and images[0][0] != images[0][1]
    if not runs:
        assert digests(molt, list(first)) == first
    molt.line("update 7")
    molt.expect("molt: lu: refused: no such image")
    molt.line("update two")
    molt.expect('molt: update: "two" is no image number')
    molt.line("status")
    molt.expect(r"molt: status: updates=2 refused=1 .*last refusal: no such image")

    lives(molt, state)

    molt.type("\x011")
    molt.expect(r"molt: console: control \(")
    molt.type("\x012")
    molt.expect(r"molt: console: worker1 \(")
    molt.type("\x010")
    molt.expect(r"molt: console: molt \(")
    molt.line("domains")
    molt.expect(rf"molt: domain 2 worker1: {state}")
    molt.type("\x01\x01")
    molt.expect(r"molt: console: control \(")
    molt.type("\x010")
    molt.line("quit")
    molt.expect("molt: end ok")
    assert molt.end() == 0


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_console__updates_without_virtualization__memory_is_untouched(terminal, firmware):
    """Domains that do not run have the same memory before and after each update."""
    words = ["--engine", "tcg", "--firmware", firmware, "--cpus", "2"]
    for guest in (CONTROL, *WORKERS[:2]):
        words += ["--guest", guest]
    child = terminal(words, f"digest-tcg-{firmware}")
    child.expect(r"molt: boot: \d+ cycles", timeout=60)
    names = ("control", "worker1", "worker2")
    first = digests(child, names)
    assert len(set(first.values())) > 1
    for number in range(1, 4):
        child.line("update")
        child.expect(rf"molt: update n={number} ok from=", 60)
        assert digests(child, names) == first
    child.line("quit")
    assert child.end() == 0


def test_console__update_by_number__takes_that_image(terminal):
    child = terminal(["--engine", "tcg", "--guest", HELLO], "images-tcg")
    child.expect(r"molt: boot: \d+ cycles", timeout=60)
    child.line("images")
    child.expect(r"molt: image 1: .*name=molt-next\.elf")
    child.line("update 1")
    target = child.expect(r"molt: update n=1 ok from=(\S+) to=(\S+) ").groups()
    assert target[0] != target[1]
    child.line("update 1")  # by itself: the image that is running
    child.expect(rf"molt: update n=2 ok from={re.escape(target[1])} to={re.escape(target[1])} ")
    child.line("update 7")
    child.expect("molt: lu: refused: ")
    child.line("quit")
    assert child.end() == 0


def test_console__line_half_typed_at_an_update__console_goes_on(terminal):
    """What was typed before is there under the next image."""
    words = ["--engine", "tcg", "--guest", HELLO, "--append", "end=never autoupdate=2,3000"]
    child = terminal(words, "half-typed-tcg")
    child.expect(r"molt: boot: \d+ cycles", timeout=60)
    child.type("doma")
    child.expect("molt> doma")
    child.expect("molt: update n=1 ok from=", 60)
    child.expect("molt> doma")
    child.line("ins")
    child.expect(r"molt: domain 1 hello: not running")
    child.line("quit")
    child.expect("molt: end ok")
    assert child.end() == 0
