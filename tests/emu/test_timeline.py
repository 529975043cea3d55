# SPDX-License-Identifier: Apache-2.0
"""The timeline of updates: what molt says, and what tools/molt timeline draws of it."""

import os
import re
import subprocess
import xml.etree.ElementTree as ElementTree

import faults
import pytest
from conftest import BOCHS, LOGS, MOLT, ROOT, SVM, Case, both, built
from moltlib import timeline
from moltlib.log import Log
from moltlib.options import UsageError
from moltlib.svg import text_width
from test_cases import guest, parameter
from test_faults import list_file

# One CPU works on the update, one is parked; two vCPUs are held up on the first one, one on the
# second, and one sleeps. 1 MHz: a cycle is a microsecond.
GOOD = """\
molt: update n=7 ok from=0.1/aaaa to=0.2/bbbb stream=2 blackout=8000 save=2000 jump=100 boot=900 \
adopt=4600 resume=400
molt: timeline n=7 khz=1000 stop=1000000
molt: timeline n=7 cpu=0 tsc=1000100 step="old: stop"
molt: timeline n=7 cpu=0 tsc=1000600 step="old: save"
molt: timeline n=7 cpu=0 tsc=1002000 step="old: jump"
molt: timeline n=7 cpu=0 tsc=1003000 step="new: stream"
molt: timeline n=7 cpu=0 tsc=1007500 step="new: commit 1"
molt: timeline n=7 cpu=0 apic=0 stop=1000000 online=1002200 entered=1007800
molt: timeline n=7 cpu=1 apic=4 stop=1000400 online=1007700 entered=1008000
molt: timeline n=7 vcpu=one.0 held=1 from=0 to=0 stopped=1000000 entered=1007800
molt: timeline n=7 vcpu=one.1 held=1 from=1 to=1 stopped=1000400 entered=1008000
molt: timeline n=7 vcpu=two.0 held=1 from=0 to=0 stopped=999800 entered=1030000
molt: timeline n=7 vcpu=two.1 held=0 from=1 to=- stopped=999000 entered=0
"""
BACK = """\
molt: update n=8 back code=33 phase="adopt: domains" rip=0 blackout=5000 reason="panic: <&>"
molt: timeline n=8 khz=1000 stop=2000000 failed=2003500
molt: timeline n=8 cpu=0 tsc=2000100 step="old: stop"
molt: timeline n=8 cpu=0 tsc=2001000 step="old: jump"
molt: timeline n=8 cpu=0 tsc=2001200 step="new: stream"
molt: timeline n=8 cpu=0 tsc=2003600 step="way back"
molt: timeline n=8 cpu=0 tsc=2004000 step="old: back"
molt: timeline n=8 cpu=0 apic=0 stop=2000000 online=5 entered=2004900
molt: timeline n=8 cpu=1 apic=4 stop=2000300 online=2004300 entered=2005000
molt: timeline n=8 vcpu=one.0 held=1 from=0 to=0 stopped=2000000 entered=2004900
molt: timeline n=8 vcpu=one.1 held=1 from=1 to=1 stopped=2000300 entered=2005000
"""
PLAIN = """\
molt: update n=9 ok from=0.1/aaaa to=0.2/bbbb stream=1 blackout=100 save=40 jump=1 boot=9 \
adopt=45 resume=5
"""
REFUSED = 'molt: update n=6 refused reason="no"\n'

SVG = "{http://www.w3.org/2000/svg}"
UNITS = {"TSC cycles": 1, "microseconds": 1, "milliseconds": 1000}  # cycles, at 1 MHz


def drawn(text, numbers=(), unit="auto"):
    log = Log(text.encode())
    return ElementTree.fromstring(timeline.picture(timeline.chosen(log, numbers), unit))


def bars(tree, kind, row):
    """(from, to) of bars as the picture says them; None where there is no such end."""
    found = []
    for rect in tree.iter(SVG + "rect"):
        if rect.get("class") == kind and rect.get("data-row") == row:
            ends = [rect.get("data-from"), rect.get("data-to")]
            found.append(tuple(int(end) if end else None for end in ends))
    return found


def texts(tree):
    return ["".join(text.itertext()) for text in tree.iter(SVG + "text")]


def axis(panel, khz):
    """pixel of a moment, by the labels of the axis: cycles from the stop on."""
    ticks = [text for text in panel.iter(SVG + "text") if text.get("class") == "tick"]
    unit = next(text for text in texts(panel) if text in UNITS)
    one = 1 if unit == "TSC cycles" else UNITS[unit] * khz / 1000
    value = [float(tick.text.replace(",", "").replace("\N{MINUS SIGN}", "-")) * one
             for tick in ticks]
    place = [float(tick.get("x")) for tick in ticks]
    assert len(ticks) >= 4
    scale = (place[-1] - place[0]) / (value[-1] - value[0])
    return lambda cycles: place[0] + (cycles - value[0]) * scale


def check_places(tree, timelines):
    """Each bar lies where the axis says that its moments are."""
    panels = [group for group in tree.iter(SVG + "g") if group.get("class") == "update"]
    assert [int(panel.get("data-n")) for panel in panels] == [of.update.n for of in timelines]
    for panel, of in zip(panels, timelines):
        at = axis(panel, of.khz or 1000)
        rects = [rect for rect in panel.iter(SVG + "rect") if rect.get("data-row")]
        left = min(float(rect.get("x")) for rect in rects)
        right = max(float(rect.get("x")) + float(rect.get("width")) for rect in rects)
        checked = 0
        for rect in rects:
            x, width = float(rect.get("x")), float(rect.get("width"))
            for tsc, place in ((rect.get("data-from"), x), (rect.get("data-to"), x + width)):
                if tsc is not None:
                    wanted = min(max(at(int(tsc) - (of.stop or 0)), left), right)
                    assert abs(wanted - place) < 1, (rect.attrib, wanted)
                    checked += 1
        assert checked >= 2
        pause = next(rect for rect in panel.iter(SVG + "rect") if rect.get("class") == "pause")
        assert abs(float(pause.get("x")) - at(0)) < 1
        assert abs(float(pause.get("width")) - at(of.update.blackout) + at(0)) < 1


def box(text):
    size, x = float(text.get("font-size")), float(text.get("x"))
    width = text_width("".join(text.itertext()), size)
    left = x - width * {"middle": 0.5, "end": 1}.get(text.get("text-anchor"), 0)
    return left, left + width, float(text.get("y")) - size * 0.75, float(text.get("y"))


def check_texts(tree):
    """No text lies on another one, or outside of the picture."""
    boxes = [(box(text), "".join(text.itertext())) for text in tree.iter(SVG + "text")]
    for index, (one, name) in enumerate(boxes):
        assert one[0] >= 0 and one[1] <= float(tree.get("width")), name
        assert one[3] <= float(tree.get("height")), name
        for other, second in boxes[:index]:
            apart = one[0] >= other[1] or other[0] >= one[1] or one[2] >= other[3] \
                or other[2] >= one[3]
            assert apart, (name, second)


# --- the log ---


def test_log__lines_of_an_update__belong_to_it():
    log = Log((REFUSED + GOOD + BACK + PLAIN).encode())
    refused, good, back, plain = log.timelines
    assert [of.update.n for of in log.timelines] == [6, 7, 8, 9]
    assert (good.khz, good.stop, good.failed) == (1000, 1000000, None)
    assert [step.name for step in good.steps][:2] == ["old: stop", "old: save"]
    assert [(cpu.cpu, cpu.stop, cpu.online, cpu.entered) for cpu in good.cpus] == [
        (0, 1000000, 1002200, 1007800), (1, 1000400, 1007700, 1008000)]
    assert [(v.name, v.held, v.source, v.target, v.stopped, v.entered) for v in good.vcpus][2:] == [
        ("two.0", True, 0, 0, 999800, 1030000), ("two.1", False, 1, None, 999000, None)]
    assert back.failed == 2003500 and len(back.steps) == 5
    for empty in (refused, plain):
        assert not empty.steps and not empty.cpus and not empty.vcpus and empty.khz is None


@pytest.mark.parametrize("line", [
    "molt: timeline n=6 khz=5 stop=5",  # of another update
    "molt: timeline khz=5 stop=5",
    "molt: timeline n=7 cpu=0 tsc= step=\"old: stop\"",
    "molt: timeline n=7",
    "molt: timeline",
    "[worker] timeline n=7 khz=5",
])
def test_log__damaged_lines__left_out(line):
    first = GOOD.splitlines()[0]
    of = Log(f"{line}\n{first}\n{line}\n".encode()).timelines[0]
    assert (of.khz, of.stop, of.steps, of.cpus, of.vcpus) == (None, None, [], [], [])


# --- the picture ---


def test_picture__vcpus__blackout_is_from_stop_to_entry():
    tree = drawn(GOOD)
    assert bars(tree, "blackout", "one.0") == [(1000000, 1007800)]
    assert bars(tree, "blackout", "one.1") == [(1000400, 1008000)]
    assert bars(tree, "run", "one.1") == [(None, 1000400), (1008000, None)]
    # it waited for its turn before, and has to wait again
    assert bars(tree, "queue", "two.0") == [(999800, 1000000)]
    assert bars(tree, "blackout", "two.0") == [(1000000, 1030000)]
    assert bars(tree, "turn", "two.0") == [(1007800, 1030000)]
    # nobody held it up
    assert bars(tree, "blackout", "two.1") == []
    assert bars(tree, "idle", "two.1") == [(999000, None)]
    lengths = texts(tree)
    for text in ("7.8 ms", "7.6 ms", "30 ms \N{RIGHTWARDS ARROW}", "blackout 8 ms (8,000 cycles)"):
        assert text in lengths


def test_picture__cpus__what_each_did():
    tree = drawn(GOOD)
    assert bars(tree, "old", "CPU 0") == [(1000000, 1002100)]
    assert bars(tree, "new", "CPU 0") == [(1002100, 1007800)]
    assert bars(tree, "stopped", "CPU 1") == [(1000400, 1002000)]
    assert bars(tree, "parked", "CPU 1") == [(1002000, 1007500)]
    assert bars(tree, "starting", "CPU 1") == [(1007500, 1007700)]
    assert bars(tree, "idle", "CPU 1") == [(1007700, 1008000)]
    assert bars(tree, "run", "CPU 1") == [(None, 1000400), (1008000, None)]


def test_picture__nothing_to_run__idle_behind_the_pause():
    tree = drawn(re.sub(r"(cpu=. apic.*) entered=\d+", r"\1 entered=0", GOOD))
    assert bars(tree, "new", "CPU 0") == [(1002100, 1008000)]
    assert bars(tree, "idle", "CPU 0") == [(1008000, None)]
    assert bars(tree, "idle", "CPU 1") == [(1007700, 1008000), (1008000, None)]


def test_picture__images__figures_and_steps():
    tree = drawn(GOOD)
    assert bars(tree, "old", "old image") == [
        (1000000, 1002000), (1002000, 1002100),  # save, jump
        (1000000, 1000600), (1000600, 1002000), (1002000, 1002100)]
    assert bars(tree, "new", "new image") == [
        (1002100, 1003000), (1003000, 1007600), (1007600, 1008000),
        (1002100, 1003000), (1003000, 1007500), (1007500, 1008000)]


def test_picture__came_back__the_way_there_and_back():
    tree = drawn(BACK)
    assert bars(tree, "old", "old image") == [
        (2000000, 2001000), (2001000, 2001200), (2004000, 2005000)]
    assert bars(tree, "new", "new image") == [(2001200, 2003600), (2003600, 2004000)]
    assert bars(tree, "new", "CPU 0") == [(2001200, 2004000)]
    assert bars(tree, "parked", "CPU 1") == [(2001000, 2004000)]
    assert bars(tree, "starting", "CPU 1") == [(2004000, 2004300)]
    assert bars(tree, "blackout", "one.1") == [(2000300, 2005000)]
    mark = next(text for text in tree.iter(SVG + "text") if text.get("class") == "mark")
    assert (mark.text, mark.get("data-tsc")) == ("failed", "2003500")
    assert any("panic: <&>" in text for text in texts(tree))


def test_picture__failed_before_the_jump__the_old_image_alone():
    kept = [line for line in BACK.splitlines() if "new:" not in line and "jump" not in line]
    text = "\n".join(kept).replace("online=2004300", "online=7")
    tree = drawn(text + "\n")
    assert bars(tree, "old", "old image")[-2:] == [(2003600, 2004000), (2004000, 2005000)]
    assert bars(tree, "new", "new image") == []
    assert bars(tree, "old", "CPU 0") == [(2000000, 2004900)]
    assert bars(tree, "stopped", "CPU 1") == [(2000300, 2005000)]


def test_picture__from_version_1__since_when_is_not_known():
    text = re.sub(r"(stop|stopped)=\d+ (online|entered)", r"\1=0 \2", GOOD)
    text = re.sub(r'.*step=".*\n', "", text).replace("from=0", "from=-").replace("from=1", "from=-")
    tree = drawn(text)
    assert bars(tree, "blackout", "one.1") == [(1000000, 1008000)]
    assert "\N{LESS-THAN OR EQUAL TO} 8 ms" in texts(tree)
    assert bars(tree, "idle", "two.1") == [(None, None)]
    assert bars(tree, "parked", "CPU 1") == [(1002000, 1007600)]
    assert bars(tree, "run", "CPU 1") == [(1008000, None)]
    check_texts(tree)


def test_picture__without_the_word__phases_only():
    tree = drawn(PLAIN)
    assert bars(tree, "old", "old image") == [(0, 40), (40, 41)]
    assert bars(tree, "new", "new image") == [(41, 50), (50, 95), (95, 100)]
    assert any("with the word timeline" in text for text in texts(tree))
    assert "TSC cycles" in texts(tree)


@pytest.mark.parametrize("unit", ["auto", "us", "cycles"])
def test_picture__every_bar__lies_where_the_axis_says(unit):
    text = REFUSED + GOOD + BACK + (PLAIN if unit != "us" else "")
    tree = drawn(text, unit=unit)
    check_places(tree, timeline.timelines_of(Log(text.encode())))
    check_texts(tree)
    assert ("TSC cycles" in texts(tree)) == (unit != "us")


def test_picture__many_rows_and_long_names__nothing_overlaps():
    name = "a-domain-with-a-very-long-name-."
    many = "".join(
        f"molt: timeline n=7 vcpu={name}.{index} held=1 from=0 to=1 stopped={999000 + index} "
        f"entered={1007000 + 90 * index}\n" for index in range(64))
    steps = "".join(f'molt: timeline n=7 cpu=0 tsc={1000700 + 9 * n} step="old: {n} of many"\n'
                    for n in range(40))
    tree = drawn(GOOD + steps + many)
    check_texts(tree)
    assert sum(rect.get("class") == "blackout" for rect in tree.iter(SVG + "rect")) == 3 + 64


# --- the command ---


def molt_timeline(*words):
    return subprocess.run([MOLT, "timeline", *map(str, words)], cwd=ROOT, capture_output=True,
                          text=True, timeout=60, check=False)


def test_command__updates_chosen__drawn(tmp_path):
    log, out = tmp_path / "log", tmp_path / "out.svg"
    log.write_text(GOOD + BACK + PLAIN)
    done = molt_timeline(log, "-o", out, "--update", 9, "--update", 7)
    assert done.returncode == 0, done.stderr
    groups = ElementTree.parse(out).getroot().iter(SVG + "g")
    assert [group.get("data-n") for group in groups if group.get("data-n")] == ["9", "7"]
    assert "2 of 3 updates" in done.stderr


@pytest.mark.parametrize("text, words, said", [
    ("molt: molt 0.1/aaaa\n", (), "no update that took place"),
    (REFUSED, (), "no update that took place"),
    ("", (), "no update that took place"),
    (GOOD, ("--update", "3"), "--update 3"),
    (PLAIN, ("--unit", "us"), "--unit us"),
    (None, (), "cannot read"),
])
def test_command__nothing_to_draw__says_why(tmp_path, text, words, said):
    log, out = tmp_path / "log", tmp_path / "out.svg"
    if text is not None:
        log.write_text(text)
    done = molt_timeline(log, "-o", out, *words)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
    assert not out.exists()


def test_command__cannot_write__says_why(tmp_path):
    log = tmp_path / "log"
    log.write_text(GOOD)
    done = molt_timeline(log, "-o", tmp_path / "no" / "such.svg")
    assert done.returncode == 2 and "cannot write" in done.stderr
    with pytest.raises(UsageError):
        timeline.write(Log(), str(tmp_path / "x.svg"))


# --- runs ---


def drawing(engine, name):
    """Options: the run draws build/emu/ENGINE-NAME.svg."""
    return ["--timeline", os.path.join("build", "emu", f"{engine}-{name}.svg")]


def still_held(of, tsc):
    """Does somebody whom the update held up stand until then?"""
    return any(vcpu.held and (vcpu.entered or tsc) >= tsc for vcpu in of.vcpus)


def firsts(of):
    """The vCPUs that were held up and that their CPUs entered first."""
    return [vcpu for cpu in of.cpus for vcpu in of.vcpus
            if vcpu.held and vcpu.target == cpu.cpu and vcpu.entered == cpu.entered]


def adds_up(cpus):
    """The stamps of each update against its line (docs/ARCHITECTURE.md, "Figures")."""

    def check(run):
        done = timeline.timelines_of(run.log)
        assert len(done) == len(run.log.updates) > 0, run.describe()
        for of in done:
            story = timeline.Story(of)
            assert len(of.cpus) == cpus and of.khz, run.describe()
            assert of.stop == min(cpu.stop for cpu in of.cpus), of
            ends = [cpu.entered for cpu in of.cpus if cpu.entered and still_held(of, cpu.entered)]
            assert ends, of
            assert of.update.blackout == max(ends) - of.stop, of
            for vcpu in firsts(of):
                start, end = timeline.blackout_of(story, vcpu)
                assert of.stop <= start and 0 < end - start <= of.update.blackout, (of, vcpu)
            for vcpu in of.vcpus:
                assert vcpu.stopped is None or vcpu.stopped <= max(cpu.stop for cpu in of.cpus)
                if vcpu.entered:
                    assert vcpu.entered >= story.cpu(vcpu.target).entered, (of, vcpu)
            moments = [step.tsc for step in of.steps]
            assert moments == sorted(moments), of
            assert of.stop <= moments[0] and moments[-1] <= story.end, of
            images = {step.name.partition(":")[0] for step in of.steps} - {"way back"}
            reached = of.update.result == "ok" or of.update.phase.startswith("adopt")
            assert images == ({"old", "new"} if reached else {"old"}), of
        return done

    return check


def in_the_picture(run):
    """What --timeline has drawn."""
    path = os.path.join(LOGS, run.name + ".svg")
    tree = ElementTree.parse(path).getroot()
    done = timeline.timelines_of(run.log)
    check_places(tree, done)
    check_texts(tree)
    for of in done:
        for vcpu in of.vcpus:
            if vcpu.held:
                assert timeline.blackout_of(timeline.Story(of), vcpu) in \
                    bars(tree, "blackout", vcpu.name), vcpu


def running(cpus):
    """Two vCPUs for each CPU."""
    name = f"timeline-{cpus}-cpus"
    workers = [guest(f"worker{n}", "mem=32M", file="worker", cmdline=f"seed={n} tick=10000")
               for n in range(1, 2 * cpus)]
    return both(
        name, cpus=cpus, updates=4, interval=200, append="audit=off", seconds=10 * cpus,
        guests=[guest("control", "mem=32M", "control"), *workers], extra=drawing(BOCHS, name),
        timeout=120, checks=[adds_up(cpus), in_the_picture], svm={"extra": drawing(SVM, name)})


def failing(cpus):
    """Updates that come back, out of both images; a good one after each."""
    name = f"timeline-back-{cpus}-cpus"
    module, write = list_file(name, [
        faults.line("new.record.vcpu", "panic"), faults.line("new.map.after", "hang"),
        faults.line("old.save.vcpu", "panic"), faults.line("jump.leave", "ud")])
    images = [built("molt-test.elf"), built("molt-test-next.elf")]
    workers = [guest(f"worker{n}", "mem=32M", file="worker", cmdline="maxgap=10000 tick=10000")
               for n in range(1, 2 * cpus)]
    return Case(
        name, BOCHS, cpus=cpus, images=images, append="end=control lu_deadline=30 audit=off",
        guests=[guest("faults", "mem=20M", "control", module, cmdline="alone=1"), *workers],
        extra=["--molt", images[0], *drawing(BOCHS, name)], seconds=15 * cpus,
        timeout=240, prepare=write, fails={f"update:{n}" for n in (1, 3, 5, 7)},
        checks=[adds_up(cpus), in_the_picture])


CASES = [failing(1), failing(2), *running(1), *running(2)]


@pytest.mark.parametrize("case", map(parameter, CASES))
def test_timeline(case, case_run):
    case_run.expect(case.fails)
    for check in case.checks:
        check(case_run)
