# SPDX-License-Identifier: Apache-2.0
"""Whole runs of the runner with a stand-in for molt (stub.asm): emulators, firmware, exit codes."""

import os
import subprocess
import zlib

import pytest
from conftest import run_molt

HERE = os.path.dirname(os.path.abspath(__file__))
CREATED = "molt: domain worker id=1 memory=64M\n"


def tick_line(number):
    text = f"tick n={number} t={number * number}"
    return f"{text} crc={zlib.crc32(text.encode()):08x}"


@pytest.fixture(scope="session")
def stub(tmp_path_factory):
    path = tmp_path_factory.mktemp("stub") / "stub.bin"
    source = os.path.join(HERE, "stub.asm")
    subprocess.run(["nasm", "-f", "bin", "-o", path, source], check=True)
    return path


def stub_options(stub, tmp_path, engine, firmware, text, ending):
    script = tmp_path / "script"
    script.write_text(text)
    words = ["--engine", engine, "--firmware", firmware, "--molt", str(stub)]
    words += ["--image", str(script), "--guest", f"{script},name=worker,control"]
    return words + ["--append", ending]


@pytest.fixture
def stub_run(stub, tmp_path, request):
    """A function that runs the stand-in once and returns the Run."""

    def run(engine, text, ending, firmware="bios", limit=60):
        words = stub_options(stub, tmp_path, engine, firmware, text, ending)
        name = "stub-" + request.node.name.removeprefix("test_stub__").replace("/", "-")
        return run_molt([*words, "--timeout", str(limit)], name, limit)

    return run


ENDS = {
    "good": (CREATED + "molt: end ok\n", "s", set()),
    "end failed": (CREATED + "molt: end failed\n", "s", {"end"}),
    "triple fault": (CREATED, "t", {"machine:reset", "end"}),
    "silence": (CREATED, "s", {"end"}),
}


@pytest.mark.parametrize(
    "engine, firmware, end",
    [(engine, "bios", end) for engine in ("bochs", "tcg") for end in ENDS]
    + [("tcg", "uefi", "good"), ("tcg", "uefi", "triple fault")],
)
def test_stub__each_end__is_told_apart(stub_run, engine, firmware, end):
    text, ending, keys = ENDS[end]
    run = stub_run(engine, text, ending, firmware)
    run.expect(keys)
    assert run.code == (1 if keys else 0)


def test_stub__failure_code__is_seen_by_qemu(stub_run):
    run = stub_run("tcg", CREATED + "molt: end ok\n", "f")
    run.expect({"machine:failed"})


@pytest.mark.parametrize("engine", ["bochs", "tcg"])
def test_stub__hang__time_limit(stub_run, engine):
    run = stub_run(engine, CREATED + "molt: now\n", "h", limit=6)
    run.expect({"machine:timeout", "end"})
    assert run.code == 124 and "last seen" in run.messages


@pytest.mark.parametrize("engine", ["bochs", "tcg"])
def test_stub__command_line__arrives_word_by_word(stub_run, engine):
    words = "a=b;c $HOME {x} #y <z> w|v&u"
    run = stub_run(engine, CREATED + "molt: end ok\n", words + " s")
    run.expect()
    assert run.log.lines[-1] == words + " s"


def test_stub__long_command_line__arrives_whole(stub_run):
    words = "badpage=" + ",".join(f"{page:x}" for page in range(0x8000, 0x8000 + 1200, 2))
    run = stub_run("tcg", CREATED + "molt: end ok\n", words + " s")
    run.expect()
    assert run.log.lines[-1] == words + " s"


@pytest.mark.parametrize("engine", ["bochs", "tcg"])
def test_stub__much_output__no_byte_is_lost(stub_run, engine):
    text = "".join(f"[worker] {tick_line(n)}\n" for n in range(1, 2001))
    run = stub_run(engine, CREATED + text + "molt: end ok\n", "s")
    run.expect()
    assert run.log.ticks("worker") == list(range(1, 2001))


def test_stub__file_that_cannot_boot__is_said_and_ends(tmp_path):
    words = stub_options(tmp_path / "script", tmp_path, "tcg", "bios", "no kernel\n", "s")
    run = run_molt([*words, "--timeout", "60"], "stub-no-kernel")
    run.expect({"machine:failed", "end", "guest:worker"})
    assert any("GRUB could not load" in line for line in run.log.lines)


@pytest.mark.parametrize("engine", ["bochs", "tcg"])
def test_stub__typed_keys__go_both_ways(stub, tmp_path, engine, terminal):
    words = stub_options(stub, tmp_path, engine, "bios", CREATED + "molt: end ok\n", "i")
    child = terminal(words, f"stub-keys-{engine}")
    child.expect("end ok\r?\ni\r?\n")
    child.type("help\x01\x03me")
    child.expect(r"help\^\x03me")
    child.type("q")
    assert child.end() == 0


@pytest.mark.parametrize("engine", ["bochs", "tcg"])
def test_stub__quit_key__leaves(stub, tmp_path, engine, terminal):
    words = stub_options(stub, tmp_path, engine, "bios", CREATED, "h")
    child = terminal(words, f"stub-quit-{engine}")
    child.expect("memory=64M")
    assert child.quit() == 130
