# SPDX-License-Identifier: Apache-2.0
"""The flight recorder: over updates, on a panic, and over a reset."""

import re

import pytest
from conftest import SVM, Case, both
from test_cases import CONTROL, HELLO, WORKERS
from test_reset import PLACE, TEST_IMAGES, prompt

ENTRY = re.compile(r"log: (\d+) (\d+) (\d+\.\d{6}|-) (\d+) (line|more|step) (.*)")

# What an update from one image to the other leaves, in this order.
STEPS = ["old: stop", "old: save", "old: check", "old: breadcrumb", "old: jump",
         "new: breadcrumb found", "new: stream", "new: adoption", "new: commit 1"]


def entries(texts):
    """(number, TSC, seconds, CPU, kind, text) of each entry that is shown."""
    found = [match.groups() for match in map(ENTRY.fullmatch, texts) if match]
    return [(int(n), int(tsc), None if seconds == "-" else float(seconds), int(cpu), kind, text)
            for n, tsc, seconds, cpu, kind, text in found]


def shown_in_order(found):
    """Numbers and time go on, and nothing is missing."""
    numbers = [entry[0] for entry in found]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), found
    times = [entry[1] for entry in found]
    assert times == sorted(times), found


def lost(**domains):
    """A panic shows what came before it, each domain, and how it was."""

    def check(run):
        log = run.log.boots[0]
        found = entries(log.molt)
        assert len(found) >= 8, run.describe()
        shown_in_order(found)
        assert not any(entry[5].startswith("panic") for entry in found), run.describe()
        before = log.molt[: log.molt.index(log.panics[0])]
        assert all(any(entry[5] in text for text in before) for entry in found
                   if entry[4] == "line"), run.describe()
        texts = [text for text in log.molt if text.startswith("lost: domain ")]
        assert texts == [f"lost: domain {name}: {what}" for name, what in domains.items()], texts

    return check


def list_is_damaged(run):
    assert "lost: the list of domains is damaged behind id 2" in run.log.molt, run.describe()


def stops_at_once(run):
    assert run.log.molt[-1].startswith("memory: "), run.describe()


def next_boot_tells(run):
    """The boot after the reset has found the recorder, and the panic in it."""
    first, second = run.log.boots
    assert "panic: reset" in first.molt[-1], run.describe()
    found = [text for text in second.molt if text.startswith("recorder: ")]
    assert re.fullmatch(r"recorder: \d+ entries of earlier boots", found[0]), run.describe()
    assert int(found[0].split()[1]) >= len(first.molt) - len(entries(first.molt)) - 1
    what = re.fullmatch(r"recorder: the last boot: \d+ \d+ - 0 line (panic: cpu=0 .*)",
                        found[1])
    assert what and any(text.startswith(what.group(1)) for text in first.panics), run.describe()
    assert not any(text.startswith("recorder: ") for text in first.molt)


def panic(name, engine, append, checks, **more):
    return Case(name, engine, guests=[CONTROL, HELLO], append=append, fails={"panic", "end"},
                checks=checks, seconds=2, **more)


BOTH_LOST = lost(control="running, 1 vCPU", hello="running, 1 vCPU")

CASES = [
    *(panic("panic-lost", engine, "selftest=panic", [BOTH_LOST])
      for engine in ("tcg", SVM, "bochs")),
    *(panic("panic-damaged-list", engine, "selftest=lost", [BOTH_LOST, list_is_damaged])
      for engine in ("tcg", SVM, "bochs")),
    # a panic that cannot be printed: the machine stops all the same, and at once
    Case("panic-again", "tcg", guests=[HELLO], append="selftest=again", timeout=20,
         fails={"machine:failed", "end"}, checks=[stops_at_once], seconds=1),
    # while guests run on two CPUs, after an update
    *both("panic-of-a-running-molt", cpus=2, guests=[CONTROL, WORKERS[0]], updates=3,
          interval=200, images=TEST_IMAGES, append="fault=new.finish.report:panic:1:0",
          extra=["--molt", TEST_IMAGES[0]], fails={"panic", "end", "updates"},
          checks=[lost(control="running, 1 vCPU", worker1="running, 1 vCPU")], seconds=6),
    # reset, and the next boot reads it
    Case("panic-reset", "tcg", guests=[CONTROL, HELLO],
         append=f"{PLACE} panic=reset selftest=panic", extra=["--append-again", PLACE], resets=1,
         updates=2, interval=100, fails={"panic"}, checks=[next_boot_tells], seconds=6),
    Case("panic-reset", "tcg", "uefi", guests=[CONTROL, HELLO],
         append=f"{PLACE} panic=reset selftest=null", extra=["--append-again", PLACE], resets=1,
         updates=2, interval=100, fails={"panic"}, checks=[next_boot_tells], timeout=90,
         seconds=20),
    *both("panic-reset", guests=[CONTROL, WORKERS[0]],
          append=f"{PLACE} panic=reset selftest=panic", extra=["--append-again", PLACE], resets=1,
          updates=1, interval=100, fails={"panic"}, checks=[next_boot_tells], seconds=8),
]


@pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in CASES])
def test_recorder(case, case_run):
    case_run.expect(case.fails)
    for check in case.checks:
        check(case_run)


@pytest.mark.parametrize("engine", [SVM, "bochs"])
def test_recorder__log_of_an_update_that_came_back__both_sides(terminal, engine):
    """What the image that failed has left is told by the one that is back."""
    images = [word for image in TEST_IMAGES for word in ("--image", image)]
    molt = prompt(terminal, f"log-back-{engine}", "--engine", engine, "--molt", TEST_IMAGES[0],
                  *images, "--append", f"{PLACE} end=never fault=new.map.before:panic:1:0")
    molt.line("update 1")
    reason = molt.expect(r'molt: update n=1 back code=33 phase="adopt: stream" .* panic: (.*)"', 60)
    molt.line("log 60")
    molt.line("nonsense")
    molt.expect('molt: "nonsense": unknown command')
    lines = molt.child.before.replace("\r", "").split("\n")
    found = entries([line[len("molt: ") :] for line in lines if line.startswith("molt: ")])
    shown_in_order(found)
    steps = [entry[5] for entry in found if entry[4] == "step"]
    assert steps == [*STEPS[:-2], "way back", "old: back"], steps
    texts = [entry[5] for entry in found]
    assert texts[texts.index("way back") + 1] == reason.group(1)
    molt.line("update 1")
    molt.expect(r"molt: update n=2 ok ", 60)
    molt.line("quit")
    molt.end()


@pytest.mark.parametrize("engine", [SVM, "bochs"])
def test_recorder__log_over_updates__both_images(terminal, engine):
    """Lines and steps of three images, in one go; and of the boot before, after a reset."""
    molt = prompt(terminal, f"log-{engine}", "--engine", engine, "--append",
                  f"{PLACE} end=never", "--boots", "2")
    for n in (1, 2):
        molt.line("update")
        molt.expect(rf"molt: update n={n} ok ", 60)
    molt.line("log none")
    molt.expect('molt: log: "none" is no number')
    molt.line("log 500")
    molt.line("nonsense")
    molt.expect('molt: "nonsense": unknown command')
    lines = molt.child.before.replace("\r", "").split("\n")
    texts = [line[len("molt: ") :] for line in lines if line.startswith("molt: ")]
    found = entries(texts)
    shown_in_order(found)
    assert found[0][0] == 1 and found[0][5].startswith("molt 0.1.0/")
    assert [entry[5] for entry in found if entry[4] == "step"] == 2 * STEPS
    updates = [entry[5] for entry in found if entry[5].startswith("update n=")]
    assert [text.split()[1] for text in updates] == ["n=1", "n=2"]
    assert all(entry[2] is not None and entry[3] == 0 for entry in found)

    molt.line("reset")
    molt.expect("molt: reset: the guests are lost")
    molt.expect(r"molt: recorder: (\d+) entries of earlier boots", 60)
    molt.expect(r"molt: boot: \d+ cycles", timeout=60)
    molt.type("\r")
    molt.line("log 500")
    molt.expect(r"molt: log: 1 \d+ - 0 line molt 0\.1\.0/")
    molt.expect(r"molt: log: \d+ \d+ - 0 step new: commit 1\r?\n")
    molt.expect(r"molt: log: \d+ \d+ - 0 line reset: the guests are lost\r?\n")
    molt.expect(r"molt: log: \d+ \d+ \d+\.\d{6} 0 line molt 0\.1\.0/")
    molt.line("quit")
    molt.expect("verdict: ok")
    assert molt.end() == 0
