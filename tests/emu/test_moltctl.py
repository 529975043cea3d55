# SPDX-License-Identifier: Apache-2.0
"""moltctl in Linux as control guest, typed at its shell as `make run` boots it."""

import functools
import json
import os
import re
import subprocess
import time

import pytest
import test_linux
from conftest import BOCHS, ROOT, SVM, built

from moltlib import options

PROMPT = "control# "
IMAGES = ("/lib/molt/molt-next.elf", "/lib/molt/molt.elf")
PHASES = {"save", "jump", "boot", "adopt", "resume"}
PIECE = 240  # molt shows longer lines of guests in pieces of so many characters
WORKER = built("guests/worker.elf") + ",name=worker,mem=64M,cmdline=tick=2000"
BOOT_SECONDS = 240
COMMAND_SECONDS = 120


@functools.lru_cache(maxsize=None)
def make_linux():
    """What is wrong with the kernel and its initramfs; empty if they are there."""
    try:
        test_linux.setup()  # one after the other: both fetch and make what the other takes
    except RuntimeError as error:
        return str(error)
    done = subprocess.run(
        ["make", "-s", "linux-test"], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=300, text=True, errors="replace", check=False,
    )
    return done.stdout if done.returncode else ""


class Shell:
    """The shell of the control guest. What it prints is read without what others print between."""

    def __init__(self, child):
        self.child = child
        self.number = 0

    def run(self, command, timeout=COMMAND_SECONDS):
        """(output, exit code) of a command: its lines, joined where molt has cut them."""
        self.number += 1
        mark = f"done-{self.number}"
        # The mark is put together by the shell: it does not stand in what is typed.
        self.child.line(f"{command}; echo do''ne-{self.number} $?")
        code = int(self.child.expect(rf"\[control\] {mark} (\d+)\r?\n", timeout).group(1))
        return self.lines(self.child.child.before), code

    @staticmethod
    def lines(text):
        """The control guest's lines behind the last one that was typed."""
        pieces, between = [], False
        for line in text.replace("\r", "").split("\n"):
            line = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)
            if not line.startswith("[control] "):
                between = True
                continue
            line = line[len("[control] ") :]
            if between and pieces and line.startswith(pieces[-1]):
                pieces.pop()  # another line came in between: this is the same from its start
            pieces.append(line)
            between = False
        found = [""]
        for piece in pieces:
            found[-1] += piece
            if len(piece) != PIECE:
                found.append("")
        typed = [at for at, line in enumerate(found) if "do''ne-" in line]
        return [line for line in found[typed[-1] + 1 if typed else 0 :] if line]

    def json(self, command, timeout=COMMAND_SECONDS):
        """(value, exit code) of a command with --json."""
        if "--json" not in command:
            command += " --json"
        lines, code = self.run(command + " 2>/dev/null", timeout)
        values = [line for line in lines if line[:1] in ("{", "[")]
        assert len(values) == 1, lines
        return json.loads(values[0]), code

    def update(self, image):
        value, code = self.json("moltctl update " + image)
        assert code == 0, value
        return value


@pytest.fixture(params=[SVM, BOCHS])
def shell(terminal, request):
    """Linux as control guest beside a worker, at its first prompt."""
    wrong = make_linux()
    if wrong:
        pytest.fail(f"there is no Linux to boot\n{wrong}", pytrace=False)

    def start(name, *more, guests=(WORKER,), mem="160M", files="control.cpio"):
        control = f"{built('linux/vmlinuz')},name=control,mem={mem},control,"
        control += f"module={built('linux/' + files)},cmdline={options.LINUX_CMDLINE}"
        words = ["--engine", request.param, "--append", "end=control focus=control", *more]
        for guest in (control, *guests):
            words += ["--guest", guest]
        child = terminal(words, f"{request.param}-{name}", limit=900)
        child.expect(r"moltctl help", BOOT_SECONDS)
        child.expect(re.escape(PROMPT), 60)
        child.line("stty cols 200")  # the shell wraps lines by itself
        child.expect(re.escape(PROMPT), 60)
        return Shell(child)

    return start


def power_off(shell):
    """The guest ends, the worker finishes its checks, molt ends in good order."""
    shell.child.line("poweroff")
    shell.child.expect("molt: domain control exit=0", 120)
    shell.child.expect("molt: end ok", 240)
    return shell.child.end(60)


def check_figures(value):
    """Blackout and phases fit each other."""
    assert set(value["phases_cycles"]) == PHASES
    assert sum(value["phases_cycles"].values()) == value["blackout_cycles"] > 0
    assert value["blackout_us"] > 0


def audit(shell):
    """Everybody agrees on whose each frame is."""
    value, code = shell.json("moltctl audit")
    assert code == 0 and value["ok"], value
    assert value["frames"] > (100 << 20) >> 12 and value["mismatches"] == 0
    assert value["mfn"] is None and value["text"] == ""


def log(shell):
    """The flight recorder after an update: lines and steps of both images, as text and JSON."""
    lines, code = shell.run("moltctl log")
    found = [re.fullmatch(r"(\d+) (\d+) (\d+\.\d{6}) (\d+) (line|more|step) (.*)", line)
             for line in lines]
    assert code == 0 and all(found), lines
    assert [int(match[1]) for match in found] == list(range(1, len(found) + 1)), lines
    steps = [match[6] for match in found if match[5] == "step"]
    assert steps[0] == "old: stop" and steps[-1] == "new: commit 1", steps
    assert any(match[6].startswith("update n=1 ok ") for match in found), lines
    value, code = shell.json("moltctl log")
    assert code == 0 and len(value) >= len(found)
    for entry, match in zip(value, found):
        assert [str(entry[key]) for key in ("number", "tsc", "cpu")] == list(match.group(1, 2, 4))
        assert entry["us"] == int(match[3].replace(".", ""))
        assert (entry["kind"], entry["text"]) == match.group(5, 6)
    lines, code = shell.run("timeout 2 moltctl log -f >/tmp/log; wc -l </tmp/log")
    assert code == 0 and int(lines[-1]) >= len(found), lines


def test_moltctl__status_list_update__as_text_and_json(shell):
    """Updates from files in both directions, and refusals; every --json is JSON."""
    sh = shell("moltctl-update")
    lines, code = sh.run("moltctl status")
    assert code == 0 and lines[0].startswith("molt 0.1.0, build "), lines
    status, code = sh.json("moltctl status")
    assert code == 0 and status["running"]["version"] == "0.1.0"
    assert (status["updates"], status["refused"], status["last_update"]) == (0, 0, None)
    assert status["memory_bytes"] == 160 << 20 and status["domain"] == 1

    lines, code = sh.run("moltctl audit")
    assert code == 0 and re.fullmatch(r"\d+ frames, 0 mismatches", lines[0]), lines

    first, code = sh.json("moltctl list")
    assert code == 0
    assert [(d["name"], d["state"], d["control"]) for d in first] == [
        ("control", "running", True), ("worker", "running", False)
    ]
    assert first[1]["memory_bytes"] == 64 << 20 and first[1]["vcpus"] == 1

    lines, code = sh.run(f"moltctl update {IMAGES[0]}")
    assert code == 0, lines
    text = "\n".join(lines)
    assert re.search(r"molt 0\.1\.0 \(\w{12}\) was replaced by 0\.2\.0 \(\w{12}\): update 1", text)
    blackout = int(re.search(r"blackout +(\d+) cycles +[\d.]+ us", text).group(1))
    phases = re.findall(r"^  (\w+) +(\d+) cycles", text, re.MULTILINE)
    assert {name for name, _ in phases} == PHASES
    assert sum(int(cycles) for _, cycles in phases) == blackout

    running = sh.json("moltctl status")[0]["running"]
    log(sh)
    for number in range(2, 6):
        value = sh.update(IMAGES[(number + 1) % 2])
        audit(sh)
        assert value["updates"] == number and value["from"] == running != value["to"]
        check_figures(value)
        running = value["to"]
    status, _ = sh.json("moltctl status")
    assert status["updates"] == 5 and status["running"] == running
    check_figures(status["last_update"])
    assert sh.json("moltctl list")[0] == first

    for command, error, text in (
        ("update /etc/passwd", "ENOEXEC", "not loaded"),
        ("update /lib/molt/hello.elf", "ENOEXEC", "not loaded"),
        ("update /lib/molt/none.elf", "failed", "No such file"),
        ("update /lib/molt", "failed", "not a file"),
        ("update", "usage", "missing"),
        ("nonsense", "usage", "nonsense"),
    ):
        value, code = sh.json("moltctl " + command)
        assert code == (2 if error == "usage" else 1), (command, value)
        assert value["error"] == error and text in value["text"], (command, value)
    status, _ = sh.json("moltctl status")
    assert status["refused"] == 2 and status["reason"] and status["updates"] == 5
    assert sh.update(IMAGES[1])["updates"] == 6

    # Only root may; and nobody else reaches the port either.
    lines, code = sh.run("su nobody -c 'moltctl status'")
    assert code == 3 and any("only root may" in line for line in lines), lines
    value, code = sh.json("su nobody -c 'moltctl list --json'")
    assert code == 3 and value["error"] == "place"
    assert power_off(sh) == 0


def test_moltctl__typed_over_updates__nothing_lost_doubled_or_reordered(shell):
    """A line typed in small pieces while a loop in the background makes updates."""
    sh = shell("moltctl-typed")
    sh.child.line("while sleep 1; do for i in molt-next molt; do moltctl update /lib/molt/$i.elf"
                  " >/tmp/last 2>&1 || touch /tmp/failed; done; done &")
    sh.child.expect(re.escape(PROMPT))
    before = sh.json("moltctl status")[0]["updates"]
    text = "".join(chr(97 + n % 26) + str(n % 10) for n in range(60))
    for number in range(3):
        line = f"x{number}{text}"
        for at in range(0, len(line), 5):
            sh.child.type(("echo " if at == 0 else "") + line[at : at + 5])
            time.sleep(0.1)
        sh.child.type("\r")
        sh.child.expect(rf"\[control\] {line}\r?\n", COMMAND_SECONDS)
    # The shell's own editing: characters taken back, the line before once more.
    sh.child.type("echo rightXY\x7f\x7f it is\r")
    sh.child.expect(r"\[control\] right it is\r?\n", COMMAND_SECONDS)
    sh.child.type("\x10\r")
    sh.child.expect(r"\[control\] right it is\r?\n", COMMAND_SECONDS)
    after = sh.json("moltctl status")[0]
    assert after["updates"] >= before + 3, (before, after)
    assert after["refused"] == 0
    lines, code = sh.run("kill %1; ls /tmp/failed")
    assert code != 0, lines
    sh.run("wait")
    assert power_off(sh) == 0


def check_hello(lines):
    """Every line of hello is there, once and in order."""
    assert [line.split(":")[0] for line in lines] == [f"hello {n + 1}" for n in range(len(lines))]


def test_moltctl__domains__created_paused_watched_destroyed(shell):
    """The whole life of a domain, over updates, and what is refused."""
    sh = shell("moltctl-domains")
    hello = "create two --kernel /lib/molt/hello.elf --mem 20M"
    new, code = sh.json("moltctl " + hello)
    assert code == 0 and (new["name"], new["state"], new["vcpus"]) == ("two", "new", 1)
    assert new["memory_bytes"] == 20 << 20
    for command, error in (
        (hello, "EEXIST"),
        ("create three --kernel /etc/passwd --mem 20M", "ENOEXEC"),
        ("create three --kernel /lib/molt/hello.elf --mem 100G", "ENOMEM"),
        ("create no/good --kernel /lib/molt/hello.elf", "EINVAL"),
        ("create three --kernel /nowhere", "failed"),
        ("resume two", "EINVAL"),
        ("pause two", "EINVAL"),
        ("pause control", "EPERM"),
        ("destroy control", "EPERM"),
        ("stat nobody", "ENOENT"),
        ("start worker", "EINVAL"),
    ):
        value, code = sh.json("moltctl " + command)
        assert code == 1 and value["error"] == error and value["text"], (command, value)
    names = [domain["name"] for domain in sh.json("moltctl list")[0]]
    assert names == ["control", "worker", "two"]

    assert sh.json("moltctl start two")[0]["state"] == "running"
    sh.child.expect(r"\[two\] hello \d+: molt 0\.1\.0", COMMAND_SECONDS)
    sh.update(IMAGES[0])
    sh.child.expect(r"\[two\] hello \d+: molt 0\.2\.0", COMMAND_SECONDS)
    assert sh.json(f"moltctl pause {new['id']}")[0]["state"] == "paused"
    still = sh.json("moltctl stat two")[0]
    sh.update(IMAGES[1])
    assert sh.json("moltctl list")[0][2]["state"] == "paused"
    sh.run("sleep 3")
    dump = sh.json("moltctl console two --dump")[0]
    assert dump["from"] == 0 and dump["to"] == len(dump["text"]) == still["console_bytes"]
    said = dump["text"].splitlines()
    check_hello(said)
    assert sh.run("moltctl console two --dump")[0] == said
    assert sh.json("moltctl stat two")[0]["console_bytes"] == still["console_bytes"]
    assert sum(still["extents"].values()) > 0 and sum(still["exits"].values()) > 0
    assert sum(int(size) * n for size, n in still["extents"].items()) == 20 << 20

    assert sh.json("moltctl resume two")[0]["state"] == "running"
    sh.child.expect(r"\[two\] hello \d+: molt 0\.1\.0", COMMAND_SECONDS)
    sh.child.line("moltctl console two")
    sh.child.expect(r"\[control\] hello 1: ", COMMAND_SECONDS)  # from the start
    sh.child.expect(rf"\[control\] hello {len(said) + 3}: ", COMMAND_SECONDS)  # and goes on
    sh.child.type("\x1c")  # Ctrl-\\, since Ctrl-] is the runner's own
    sh.child.expect(re.escape(PROMPT), COMMAND_SECONDS)
    more, _ = sh.run("moltctl console two --dump")
    check_hello(more)
    assert len(more) >= len(said) + 3 and more[: len(said)] == said
    assert sh.run("moltctl destroy two") == ([], 0)
    assert sh.json("moltctl stat two")[0]["error"] == "ENOENT"
    # The name is free again, and so is the memory: more often than all would fit at once.
    command = f"moltctl {hello} --start && moltctl destroy two || echo failed"
    lines, code = sh.run(f"for i in $(seq 18); do {command}; done", 2 * COMMAND_SECONDS)
    assert code == 0 and "failed" not in lines, lines
    assert power_off(sh) == 0


def test_moltctl__console__typed_into_over_updates(shell):
    """Keys through moltctl to another domain's UART, in pieces, while updates are made."""
    sh = shell("moltctl-console")
    sh.run("moltctl create echo --kernel /lib/molt/echo.elf --mem 20M --start")
    sh.child.line("for i in molt-next molt molt-next molt molt-next molt; do sleep 1;"
                  " moltctl update /lib/molt/$i.elf >/tmp/last 2>&1 || touch /tmp/failed; done &")
    sh.child.expect(re.escape(PROMPT))
    sh.child.line("moltctl console echo")
    sh.child.expect(r"\[control\] echo: ready", COMMAND_SECONDS)
    for number in range(1, 7):
        line = "".join(chr(97 + (n * number) % 26) for n in range(60))
        for at in range(0, len(line), 5):
            sh.child.type(line[at : at + 5])
            time.sleep(0.1)
        sh.child.type("\r")
        sh.child.expect(rf"\[control\] heard {number}: {line}\r?\n", COMMAND_SECONDS)
    sh.child.line("bye")
    sh.child.expect(r"\[control\] heard 7: bye", COMMAND_SECONDS)
    sh.child.expect(r"\[control\] \[exited\]", COMMAND_SECONDS)
    sh.run("wait")
    assert sh.run("ls /tmp/failed")[1] != 0
    domain = sh.json("moltctl list")[0][2]
    assert (domain["name"], domain["state"], domain["exit_code"]) == ("echo", "exited", 0)
    assert sh.json("moltctl status")[0]["updates"] == 6
    assert power_off(sh) == 0


@pytest.mark.soak
def test_moltctl__second_linux__created_from_files_and_typed_into(shell):
    """Lists of several pages, pages that stay where they are, a shell in a shell over updates."""
    sh = shell("moltctl-linux", "--mem", "768M", mem="256M", files="control-test.cpio")
    lines, code = sh.run("/lib/molt/pin", 2 * COMMAND_SECONDS)
    moved = re.fullmatch(r"pin: locked moved=(\d+) pinned moved=(\d+) of=\d+", lines[-1])
    assert code == 0 and moved and int(moved.group(2)) == 0, lines
    assert int(moved.group(1)) > 0, f"nothing was compacted: {lines}"
    for user in ("root", "nobody"):  # who has not asked Linux for the port does not reach molt
        lines, code = sh.run(f"su {user} -c /lib/molt/knock")
        assert code == 128 + 11 and not any("open" in line for line in lines), lines

    sh.child.line("while sleep 2; do for i in molt-next molt; do moltctl update /lib/molt/$i.elf"
                  " >/tmp/last 2>&1 || touch /tmp/failed; done; done &")
    sh.child.expect(re.escape(PROMPT))
    lines, code = sh.run(
        "moltctl create linux --mem 128M --kernel /lib/molt/vmlinuz --module "
        f"/lib/molt/initramfs.cpio --cmdline '{options.LINUX_CMDLINE} molt.shell' --start",
        4 * COMMAND_SECONDS,
    )
    assert code == 0, lines
    sh.child.line("moltctl console linux")
    sh.child.expect(r"\[control\] .*linux# ", BOOT_SECONDS)
    text = "".join(chr(97 + n % 26) + str(n % 10) for n in range(40))
    for number in range(3):
        line = f"x{number}{text}"
        for at in range(0, len(line), 5):
            sh.child.type(("echo " if at == 0 else "") + line[at : at + 5])
            time.sleep(0.1)
        sh.child.type("\r")
        sh.child.expect(rf"\[control\] {line}\r?\n", COMMAND_SECONDS)
    sh.child.line("exit")
    sh.child.expect(r"\[control\] .*reboot: Power down", COMMAND_SECONDS)
    sh.child.expect(r"\[control\] \[exited\]", COMMAND_SECONDS)
    sh.run("kill %1; wait")
    assert sh.run("ls /tmp/failed")[1] != 0
    assert sh.json("moltctl status")[0]["updates"] >= 3
    assert power_off(sh) == 0
