# SPDX-License-Identifier: Apache-2.0
"""The runner itself, without molt: parsers, boot images, detection, verdicts, the relay."""

import os
import re
import socket
import struct
import subprocess
import sys
import types
import zlib

import pytest
from conftest import MOLT, ROOT

from moltlib import console, debug, detect, emulator, iso, options, verdict
from moltlib.log import Log, clean, fields
from moltlib.options import UsageError
from moltlib.verdict import Outcome, judge

HERE = os.path.dirname(os.path.abspath(__file__))

PHASES = "save=1 jump=2 boot=3 adopt=4 resume=5"
GOOD = """\
\x1b[2J\x1b[01;01HBdsDxe: loading Boot0001\r
molt: domain control id=1 memory=32M extents=3 control cmdline=updates=2 reason=x\r
molt: domain worker id=2 memory=64M extents=3\r
[worker] worker domain=2 pages=3 crc=0c11e3e5\r
[worker] tick n=1 t=500 crc=ca4f7ec8\r
molt: digest worker crc=12345678 pages=16384\r
molt: update n=1 ok from=0.1/aaaa to=0.1/bbbb stream=2 blackout=3000 {PHASES}\r
[worker] PASS: memory: 12 checks\r
[worker] SKIP: avx512: nothing to check here\r
[worker] SUMMARY: 1 tests, 0 failures\r
molt: update n=2 ok from=0.1/bbbb to=0.1/aaaa stream=1 blackout=1000 {PHASES}\r
molt: domain control exit=0\r
molt: domain worker exit=0\r
molt: end ok\r
""".replace("{PHASES}", PHASES)


def crc_line(text):
    return f"{text} crc={zlib.crc32(text.encode()):08x}"


def log_of(text):
    # The checksums in the sample are filled in here, so that they are right by construction.
    def right(match):
        return "] " + crc_line(match.group(1))

    return Log(re.sub(r"\] (\S.*) crc=[0-9a-f]{8}(?=\r)", right, text).encode())


# --- the log ---


def test_log__good_run__everything_is_found():
    log = log_of(GOOD)
    assert [update.n for update in log.ok] == [1, 2]
    first = log.updates[0]
    assert (first.source, first.target, first.blackout) == ("0.1/aaaa", "0.1/bbbb", 3000)
    assert (first.stream, log.ok[1].stream) == (2, 1)
    assert first.phases == {"save": 1, "jump": 2, "boot": 3, "adopt": 4, "resume": 5}
    assert log.exit_code("worker") == 0 and log.exit_code("nobody") is None
    assert log.guests["worker"][-1] == "SUMMARY: 1 tests, 0 failures"
    assert log.checks["worker"].passed == 1 and log.checks["worker"].skipped == 1
    assert log.domains["worker"]["memory"] == "64M"
    assert "reason" not in log.domains["control"]
    assert log.digests[0].fields["crc"] == "12345678" and log.digests[0].line < first.line
    assert log.ticks("worker") == [1]
    assert log.end == "ok" and not log.panics and not log.damaged and log.complete


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_log__any_pieces__same_result(size):
    data = GOOD.encode()
    log = Log()
    for at in range(0, len(data), size):
        log.feed(data[at : at + size])
    log.finish()
    assert log.lines == Log(data).lines


def test_log__guest_that_imitates_molt__is_a_guest():
    log = Log(b"[evil] molt: end ok\n[evil] molt: update n=1 ok blackout=1\n x molt: end ok\n")
    assert log.end is None and not log.updates and log.guests["evil"][0] == "molt: end ok"


def test_log__refused_back_stopped__reasons():
    log = Log(
        b'molt: update n=3 refused reason="arena too small: needs \\"9M\\""\n'
        b'molt: update n=3 back code=33 phase="adopt: stream" rip=0 blackout=7 '
        b'reason="new: panic"\n'
        b'molt: update refused reason="no number"\n'
        b'molt: domain w-1 stopped reason="triple fault at rip=0x10"\n'
        b"molt: domain x stopped\n"
    )
    assert [update.result for update in log.updates] == ["refused", "back", "refused"]
    back = log.updates[1]
    assert (back.code, back.phase, back.blackout) == (33, "adopt: stream", 7)
    assert back.reason == "new: panic"
    assert log.updates[0].reason == 'arena too small: needs "9M"'
    assert log.updates[2].n is None
    assert [end.code for end in log.ends] == [None, None]
    assert log.ends[0].name == "w-1" and log.ends[0].reason == "triple fault at rip=0x10"


def test_log__other_lines_with_the_same_words__mean_nothing():
    log = Log(b"molt: update in progress\nmolt: domain list\nmolt: panicky\nmolt: end of test\n")
    assert not log.updates and not log.ends and not log.panics and log.end is None


def test_log__line_behind_a_prompt__is_found():
    log = Log(b"molt> molt: end ok\r\n")
    assert log.end == "ok"
    assert Log(b"molt> stat\r\x1b[Kmolt: end ok\r\n").end == "ok"


def test_log__damaged_guest_line__is_noticed():
    good = crc_line("tick n=1 t=5")
    log = Log(f"[w] {good}\n[w] {good.replace('t=5', 't=6')}\n".encode())
    assert log.damaged == [("w", good.replace("t=5", "t=6"))]


def test_log__long_guest_line_in_pieces__checksum_holds():
    text = crc_line("x" * 500)
    pieces = [text[at : at + 240] for at in range(0, len(text), 240)]
    log = Log("".join(f"[w] {piece}\n" for piece in pieces).encode())
    assert len(pieces) == 3 and not log.damaged


def test_log__no_newline_at_the_end__line_counts_and_last_is_it():
    log = Log()
    log.feed(b"molt: one\nmolt: end")
    assert log.last == "molt: end" and not log.complete and log.end is None
    log.feed(b" ok")
    log.finish()
    assert log.end == "ok"


def test_log__bytes_that_are_no_text__survive():
    log = Log(b"\xff\xfe\x00[w] \xf0x\nmolt: end ok\n")
    assert log.end == "ok"


BANNER = "molt: molt 0.1.0/0123456789ab\r\n"
RESET = GOOD[: GOOD.index("molt: update n=2")] + "molt: memory: free=1 sum o" + BANNER


def test_log__resets__each_boot_by_itself():
    log = Log(("noise\n" + BANNER + RESET + GOOD).encode(), resets=1)
    first, second = log.boots
    assert [update.n for update in log.ok] == [1, 1, 2]
    assert [update.n for update in first.ok] == [1] and first.end is None
    assert [update.n for update in second.ok] == [1, 2] and second.end == "ok"
    assert first.lines[0] == "noise" and first.lines[-1] == "molt: memory: free=1 sum o"
    assert not log.memory and not first.memory  # half a line says nothing
    assert first.lines + second.lines == log.lines


def test_log__banner_inside_a_line__is_no_boot_unless_resets_are_expected():
    assert len(Log(("[l] " + BANNER + BANNER).encode()).boots) == 1
    assert len(Log(("[l] " + BANNER + BANNER).encode(), resets=1).boots) == 2
    assert len(Log((BANNER * 3).encode()).boots) == 3
    assert [boot.lines for boot in Log().boots] == [[]]


def test_fields__quotes_and_plain__both():
    assert fields('a=1 b="x y" c= d="q\\"r"') == {"a": "1", "b": "x y", "c": "", "d": 'q"r'}


def test_clean__escapes__gone():
    assert clean("\x1b[0m\x1b[37;40mmolt: x\r") == "molt: x"


# --- the verdict ---


def test_judge__good_run__is_good():
    result = judge(log_of(GOOD), Outcome("ok"), updates=2, guests=["control", "worker"])
    assert result.good and result.code == 0, result.reasons


BAD = [
    ("machine:reset", GOOD, Outcome("reset"), 2, 1),
    ("machine:failed", GOOD, Outcome("failed"), 2, 1),
    ("machine:broken", GOOD, Outcome("broken"), 2, 1),
    ("machine:timeout", GOOD, Outcome("timeout", "time limit"), 2, 124),
    ("machine:quit", GOOD, Outcome("quit"), 2, 130),
    ("machine:stuck", GOOD, Outcome("stuck"), 2, 1),
    ("updates", GOOD, Outcome("ok"), 3, 1),
    ("updates", GOOD, Outcome("ok"), 1, 1),
    ("updates", GOOD, Outcome("ok"), 0, 1),
    ("update:1", GOOD.replace("n=1 ok", "n=1 refused"), Outcome("ok"), None, 1),
    ("update:2", GOOD.replace("n=2 ok", "n=2 back"), Outcome("ok"), None, 1),
    ("domain:worker", GOOD.replace("worker exit=0", "worker exit=7"), Outcome("ok"), 2, 1),
    (
        "domain:worker",
        GOOD.replace("domain worker exit=0", 'domain worker stopped reason="x"')
        .replace("[worker] SKIP", "[w2] SKIP")
        .replace("[w2] SKIP: avx512: nothing to check here\r\n", ""),
        Outcome("ok"),
        2,
        1,
    ),
    ("panic", GOOD.replace("molt: domain control exit=0", "molt: panic: no"), Outcome("ok"), 2, 1),
    ("end", GOOD.replace("end ok", "end failed"), Outcome("ok"), 2, 1),
    ("end", GOOD.replace("molt: end ok\r\n", ""), Outcome("ok"), 2, 1),
    ("end", GOOD + "molt: more\n", Outcome("ok"), 2, 1),
    ("checks:worker", GOOD.replace("PASS: m", "FAIL: m"), Outcome("ok"), 2, 1),
    ("checks:worker", GOOD.replace("1 tests, 0 f", "1 tests, 1 f"), Outcome("ok"), 2, 1),
    ("checks:worker", GOOD.replace("PASS: m", "SKIP: m"), Outcome("ok"), 2, 1),
    (
        "checks:worker",
        GOOD.replace("[worker] SUMMARY: 1 tests, 0 failures\r\n", ""),
        Outcome("ok"),
        2,
        1,
    ),
    (
        "unfinished:worker",
        GOOD.replace("molt: domain worker exit=0", "molt: end: domain worker still runs 20 ms"),
        Outcome("ok"),
        2,
        1,
    ),
    ("guest:worker", GOOD.replace("domain worker id", "domain other id"), Outcome("ok"), 2, 1),
    ("audit", "molt: audit: MISMATCH n=1 mfn 0x7: a; b\n" + GOOD, Outcome("ok"), 2, 1),
    ("dropped", "molt: console: 3 lines dropped\n" + GOOD, Outcome("ok"), 2, 1),
    ("line:worker", GOOD.replace("t=500", "t=500 crc=00000000\r\n[worker] z"), Outcome("ok"), 2, 1),
]


@pytest.mark.parametrize("key, text, outcome, updates, code", BAD)
def test_judge__each_way_to_fail__is_reported(key, text, outcome, updates, code):
    log = Log(text.encode()) if key.startswith("line:") else log_of(text)
    result = judge(log, outcome, updates, ["control", "worker"])
    if key.startswith("line:"):
        assert key in result.keys
    else:
        assert result.keys == {key}, result.reasons
    assert result.code == code
    assert verdict.summary(log, result)[-1] == "verdict: FAILED"


def test_judge__resets__each_boot_counts():
    def judged(text, boots):
        log = log_of(text)
        log = Log("".join(line + "\n" for line in log.lines).encode(), resets=boots - 1)
        return judge(log, Outcome("ok"), 2, ["control", "worker"], boots).keys

    assert judged(BANNER + RESET + GOOD, 2) == set()
    assert judged(BANNER + RESET + RESET + GOOD, 3) == set()
    assert judged(BANNER + RESET + BANNER + GOOD, 1) == {"boots"}
    assert judged(BANNER + RESET + GOOD, 3) == {"boots"}
    assert judged(BANNER + RESET.replace("n=1 ok", "n=1 refused") + GOOD, 2) == {"update:1"}
    assert judged(BANNER + RESET.replace("worker id", "other id") + GOOD, 2) == set()
    assert judged(BANNER + RESET + GOOD.replace("worker id", "other id"), 2) == {"guest:worker"}
    assert judged(BANNER + GOOD + RESET, 2) == {"updates", "end", "guest:control", "guest:worker"}


def test_judge__empty_log__fails():
    assert judge(Log(), Outcome("ok")).code == 1


def test_summary__blackouts__median_and_max():
    log = log_of(GOOD)
    lines = verdict.summary(log, judge(log, Outcome("ok")))
    assert lines[0] == (
        "updates: 2 ok, 0 refused, 0 back; blackout median 2000, max 3000 cycles"
    )
    assert lines[-1] == "verdict: ok"


# --- options ---


def test_parse_guest__everything__is_read():
    guest = options.parse_guest(
        "a/b.elf,name=w-1,mem=96M,vcpus=2,module=x,module=y/z,control,cmdline=how=exit,code=3 x=y"
    )
    assert guest == options.Guest(
        "a/b.elf", "w-1", "96M", 2, True, ["x", "y/z"], "how=exit,code=3 x=y"
    )


def test_parse_guest__file_only__defaults():
    assert options.parse_guest("dir/hello.elf") == options.Guest("dir/hello.elf", "hello", "64M", 1)


@pytest.mark.parametrize(
    "text",
    ["", ",name=x", "f,foo", "f,mem=64Q", "f,vcpus=0", "f,vcpus=x", "f,name=", "f,name=a b"]
    + ["f,module=", "f,control=1", "f,name=" + "x" * 32, "f,,control"],
)
def test_parse_guest__nonsense__is_refused(text):
    with pytest.raises(UsageError):
        options.parse_guest(text)


def test_size_bytes__units__powers_of_two():
    assert options.size_bytes("512M") == 512 << 20
    assert options.size_bytes("1t") == 1 << 40
    assert options.size_bytes("4096") == 4096


def test_demo_guests__one_control__names_differ():
    guests = options.demo_guests()
    assert sum(guest.control for guest in guests) == 1
    assert len({guest.name for guest in guests}) == len(guests)


def test_boot_from__no_guests_named__linux_if_it_is_there(tmp_path, monkeypatch):
    file = tmp_path / "f"
    file.write_bytes(b"x")
    monkeypatch.setattr(options, "check_files", lambda boot: None)
    monkeypatch.setattr(options, "LINUX_KERNEL", str(file))
    monkeypatch.setattr(options, "LINUX_INITRAMFS", str(file))
    boot = options.boot_from(args_of("--append", "slice=2"))
    assert [guest.name for guest in boot.guests] == ["control", "worker"]
    assert boot.guests[0].control and boot.guests[0].modules == [str(file)]
    assert "console=ttyS0" in boot.guests[0].cmdline.split()
    assert boot.append == "end=control focus=control slice=2"
    # Updates by themselves are the small control guest's.
    scripted = options.boot_from(args_of("--updates", "3"))
    assert "updates=3" in scripted.guests[0].cmdline and not scripted.guests[0].modules
    monkeypatch.setattr(options, "LINUX_INITRAMFS", str(tmp_path / "missing"))
    assert options.boot_from(args_of()).guests == options.demo_guests()
    assert options.boot_from(args_of("--no-guests")).guests == []


def args_of(*words, command="run"):
    return options.parser().parse_args([command, *words])


def test_boot_from__updates__spread_to_molt_and_control(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"x")
    boot = options.boot_from(
        args_of(
            *("--molt", str(file), "--image", str(file), "--append", "badpage=5 x"),
            *("--guest", f"{file},name=c,control,cmdline=a=1", "--guest", f"{file},name=w"),
            *("--updates", "7", "--interval", "20"),
        )
    )
    assert boot.append == "end=control autoupdate=7,20 badpage=5 x"
    assert [guest.cmdline for guest in boot.guests] == ["updates=7 interval=20 a=1", ""]


def test_boot_from__no_updates__nothing_added(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"x")
    words = ["--molt", str(file), "--image", str(file), "--guest", f"{file},control"]
    boot = options.boot_from(args_of(*words))
    assert boot.append == "" and boot.guests[0].cmdline == ""


def test_boot_from__two_equal_names__is_refused(tmp_path):
    file = tmp_path / "f"
    file.write_bytes(b"x")
    with pytest.raises(UsageError, match="two guests"):
        options.boot_from(args_of("--guest", str(file), "--guest", str(file)))


def test_check_files__missing__says_which_and_make():
    boot = options.Boot(guests=[options.Guest(os.path.join(options.BUILD, "guests", "nix.elf"))])
    with pytest.raises(UsageError, match=r"(?s)nix\.elf.*make"):
        options.check_files(boot)


@pytest.mark.parametrize("words", [["--cpus", "0"], ["--updates", "x"], ["--engine", "xen"]])
def test_parser__nonsense__exits_with_2(words):
    with pytest.raises(SystemExit) as caught:
        args_of(*words)
    assert caught.value.code == 2


def molt(*words, **more):
    return subprocess.run(
        [MOLT, *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **more
    )


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--molt", "/nonexistent"],
        ["run", "--guest", "/nonexistent,foo"],
        ["run", "--engine", "bochs", "--firmware", "uefi"],
        ["run", "--iso", "/nonexistent"],
        ["run", "--mem", "lots"],
        ["run", "--no-grub", "--no-guests", "--engine", "tcg"],
        ["run", "--no-grub", "--no-guests", "--engine", "bochs", "--mem", "4G"],
        ["run", "--no-grub", "--no-guests", "--engine", "bochs", "--append-again", "x"],
        ["run", "--no-grub", "--no-guests", "--engine", "bochs", "--molt", MOLT],
        ["iso", "--molt", "/nonexistent", "-o", "/dev/null"],
        [],
    ],
)
def test_molt__wrong_usage__exit_code_2_and_a_message(words):
    done = molt(*words)
    assert done.returncode == 2 and done.stderr and "Traceback" not in done.stderr


def test_molt__help_and_engines__work():
    assert "debug" in molt("--help").stdout
    done = molt("engines")
    assert done.returncode == 0
    assert re.search(r"^auto with bios: ", done.stdout, re.MULTILINE)


# --- boot images ---

WEIRD = "a=b;c x&y <in> >out $HOME {a} #no 'q' it's \"d\" back\\slash [x] *? ~ !! a=$(b)"


def boot_with(tmp_path, cmdline):
    file = tmp_path / "f"
    file.write_bytes(b"x")
    guest = options.Guest(str(file), "w", "64M", 1, True, [str(file)], cmdline)
    return options.Boot(str(file), cmdline, [guest], [str(file)])


def grub_words(text):
    """What GRUB's shell makes of a line: the rules of the GRUB manual, "Quoting"."""
    found, word, at = [], None, 0
    while at < len(text):
        char = text[at]
        if char == "'":
            end = text.index("'", at + 1)
            word, at = (word or "") + text[at + 1 : end], end
        elif char == "\\":
            at += 1
            word = (word or "") + text[at]
        elif char == " ":
            if word is not None:
                found.append(word)
            word = None
        else:
            assert char not in ';&|<>{}$#"', f"unquoted {char}"
            word = (word or "") + char
        at += 1
    return found + ([word] if word is not None else [])


def test_grub_cfg__special_characters__come_back(tmp_path):
    text, files = iso.grub_cfg(boot_with(tmp_path, WEIRD))
    lines = [line for line in text.splitlines() if line.startswith(("multiboot2", "module2"))]
    assert grub_words(lines[0]) == ["multiboot2", "/boot/molt.elf", *WEIRD.split()]
    assert grub_words(lines[1])[2:] == (
        ["guest", "name=w", "mem=64M", "vcpus=1", "control"] + ("cmdline=" + WEIRD).split()
    )
    assert grub_words(lines[2])[2:] == ["module", "of=w", "cmdline=f"]
    assert grub_words(lines[3])[2:] == ["image", "name=f"]
    assert set(files) == {"molt.elf", "g0.elf", "m0-0", "i0.elf"}


def test_grub_cfg__any_command_line__is_a_script(tmp_path):
    for cmdline in ("", WEIRD):
        for again in (None, "", WEIRD):
            boot = boot_with(tmp_path, cmdline)
            boot.append_again = again
            text, _ = iso.grub_cfg(boot)
            subprocess.run(["grub-script-check"], input=text, text=True, check=True)
            lines = [line for line in text.splitlines() if line.startswith("multiboot2")]
            assert grub_words(lines[-1])[2:] == cmdline.split()
            assert again is None or grub_words(lines[0])[2:] == again.split()


@pytest.mark.parametrize("text", ["", "1M", "1M-", "a-b", "1M-2M x", "1M-2M-3M", "1M -2M"])
def test_grub_cfg__broken_memory__only_ranges(tmp_path, text):
    boot = boot_with(tmp_path, "")
    boot.broken = "1M-2M"
    assert "\ncutmem 1M 2M\n" in iso.grub_cfg(boot)[0]
    boot.broken = text
    with pytest.raises(UsageError):
        iso.grub_cfg(boot)


def test_boot__words_after_a_reset__ask_for_updates_too():
    args = ["iso", "-o", "x", "--updates", "3", "--append", "a=1", "--append-again", "b=2"]
    boot = options.boot_from(options.parser().parse_args(args))
    first, again = boot.append.split(), boot.append_again.split()
    assert first[-1] == "a=1" and again[-1] == "b=2" and first[:-1] == again[:-1]


def test_quote__newline__is_refused():
    with pytest.raises(UsageError):
        iso.quote("a\nb")


def test_iso__both_firmwares__has_all_files(tmp_path):
    output = tmp_path / "x.iso"
    iso.build(boot_with(tmp_path, WEIRD), str(output), str(tmp_path), "both")
    listing = subprocess.run(
        ["xorriso", "-indev", str(output), "-find", "/boot", "-type", "f"],
        capture_output=True, text=True, check=True,
    ).stdout
    for name in ("molt.elf", "g0.elf", "m0-0", "i0.elf", "grub/grub.cfg"):
        assert f"'/boot/{name}'" in listing
    assert "efi" in listing and output.stat().st_size < 8 << 20


# --- engines ---


def host(tmp_path, flags="", nested=None, kvm=(False, set(), "no /dev/kvm"), missing=()):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(f"processor: 0\nflags\t\t: fpu {flags} sse\n")
    for module, value in (nested or {}).items():
        folder = tmp_path / "sys" / "module" / module / "parameters"
        folder.mkdir(parents=True)
        (folder / "nested").write_text(value + "\n")
    return detect.Host(
        str(tmp_path), lambda path: kvm, lambda name: None if name in missing else "/usr/bin/x"
    )


QEMU = "qemu-system-x86_64"
VMX_OK = {"flags": "vmx", "nested": {"kvm_intel": "Y"}, "kvm": (True, {"vmx"}, "works")}
SVM_OK = {"flags": "svm", "nested": {"kvm_amd": "1"}, "kvm": (True, {"svm"}, "works")}

PICKS = [
    ("nested vmx", VMX_OK, "auto", "bios", "kvm"),
    ("nested vmx, uefi", VMX_OK, "auto", "uefi", "kvm"),
    ("nested svm", SVM_OK, "auto", "bios", "kvm"),
    ("nested svm, uefi", SVM_OK, "auto", "uefi", "kvm"),
    ("nested svm, asked for", SVM_OK, "kvm", "bios", "kvm"),
    ("no kvm", {}, "auto", "bios", "tcg"),
    ("no kvm, uefi", {}, "auto", "uefi", "tcg"),
    ("no kvm, asked for", {}, "kvm", "bios", None),
    ("kvm without vmx and svm", {"kvm": (True, set(), "works")}, "auto", "bios", "tcg"),
    ("the same, asked for", {"kvm": (True, set(), "works")}, "kvm", "bios", None),
    ("nested=N", VMX_OK | {"nested": {"kvm_intel": "N"}}, "auto", "bios", "tcg"),
    ("nested=0", SVM_OK | {"nested": {"kvm_amd": "0"}}, "kvm", "bios", None),
    ("nested=0, auto", SVM_OK | {"nested": {"kvm_amd": "0"}}, "auto", "bios", "tcg"),
    ("the other vendor's module", SVM_OK | {"nested": {"kvm_intel": "Y"}}, "auto", "bios", "tcg"),
    ("module not loaded", VMX_OK | {"nested": {}}, "auto", "bios", "tcg"),
    ("cpuinfo without vmx", VMX_OK | {"flags": ""}, "auto", "bios", "tcg"),
    ("kvm lies about vmx", VMX_OK | {"kvm": (True, set(), "works")}, "auto", "bios", "tcg"),
    ("no qemu", VMX_OK | {"missing": [QEMU]}, "auto", "bios", "bochs"),
    ("no qemu, uefi", {"missing": [QEMU]}, "auto", "uefi", None),
    ("no bochs", {"missing": ["bochs"]}, "auto", "bios", "tcg"),
    ("no bochs, asked for", {"missing": ["bochs"]}, "bochs", "bios", None),
    ("bochs has no uefi", {}, "bochs", "uefi", None),
    ("nothing", {"missing": ["bochs", QEMU]}, "auto", "bios", None),
    ("tcg", {}, "tcg", "uefi", "tcg"),
    ("bochs", VMX_OK, "bochs", "bios", "bochs"),
]


@pytest.mark.parametrize(
    "machine, wanted, firmware, expected", [row[1:] for row in PICKS], ids=[row[0] for row in PICKS]
)
def test_pick(tmp_path, machine, wanted, firmware, expected):
    name, why = detect.pick(detect.engines(host(tmp_path, **machine)), wanted, firmware)
    assert name == expected and why


def test_describe__every_engine__is_named(tmp_path):
    text = "\n".join(detect.describe(host(tmp_path, **SVM_OK)))
    for word in ("kvm", "tcg", "bochs", "auto with bios: kvm: works, svm is nested"):
        assert word in text


def test_pick__auto__says_why_none_of_those_before_it(tmp_path):
    machine = SVM_OK | {"nested": {"kvm_amd": "0"}}
    _, why = detect.pick(detect.engines(host(tmp_path, **machine)), "auto", "bios")
    assert "nested virtualization is off in kvm_amd" in why and "emulates SVM" in why


def kvm_answer(*entries):
    body = b"".join(struct.pack("<10I", leaf, 0, 0, 0, 0, ecx, 0, 0, 0, 0) for leaf, ecx in entries)
    return struct.pack("<II", len(entries), 0) + body


def test_offered__bits__are_read_at_their_leaves():
    assert detect.offered(kvm_answer((1, 1 << 5), (0x80000001, 1 << 2))) == {"vmx", "svm"}
    assert detect.offered(kvm_answer((1, 1 << 2), (0x80000001, 1 << 5))) == set()
    assert detect.offered(kvm_answer((0, 0xFFFFFFFF))) == set()


@pytest.mark.parametrize("path", ["/nonexistent", "/dev/null"])
def test_probe_kvm__not_kvm__is_not_usable(path):
    usable, bits, why = detect.probe_kvm(path)
    assert not usable and not bits and path in why


# --- emulators and the relay ---


class FakeMachine(emulator.Emulator):
    """A shell script in place of a machine."""

    def __init__(self, script):
        super().__init__(None, None)
        self.script = script

    def start(self):
        ours, theirs = socket.socketpair()
        self.process = emulator.spawn(["sh", "-c", self.script], stdin=theirs, stdout=theirs)
        theirs.close()
        self._open.append(ours)
        self.console = ours.fileno()

    def outcome(self):
        return Outcome("ok" if self.process.returncode == 1 else "broken")


    def reset(self):
        os.write(self.console, b"again\n")


def relay(script, timeout=10, boots=1, **resets):
    """(outcome, log, what was shown)"""
    machine = FakeMachine(script)
    log = Log(resets=boots - 1)
    reader, writer = os.pipe()
    machine.start()
    try:
        button = console.Resets(machine, **resets) if resets else None
        relayed = console.Relay(machine, log, None, timeout, False, writer, button)
        outcome = relayed.run()
    finally:
        machine.close()
        os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        return outcome, log, pipe.read()


def test_relay__orderly_end__everything_is_shown():
    outcome, log, shown = relay("printf 'molt: a\\r\\nmolt: end ok\\r\\n'; exit 1")
    assert outcome.kind == "ok" and log.end == "ok" and shown == b"molt: a\nmolt: end ok\n"


def test_relay__time_limit__says_what_was_last_seen():
    outcome, log, _ = relay("printf 'molt: one\\nmolt: tw'; exec sleep 60", timeout=1)
    assert outcome.kind == "timeout" and "molt: tw" in outcome.text
    assert judge(log, outcome).code == 124


def test_relay__silence_and_time_limit__says_so():
    outcome, _, _ = relay("exec sleep 60", timeout=0.5)
    assert outcome.kind == "timeout" and "nothing was printed" in outcome.text


def test_relay__silence_after_a_panic__is_given_up(monkeypatch):
    monkeypatch.setattr(console, "PANIC_PATIENCE", 0.5)
    outcome, log, _ = relay("echo 'molt: panic: no'; exec sleep 60")
    assert outcome.kind == "stuck" and judge(log, outcome).code == 1


def test_relay__panic_before_an_expected_reset__is_waited_for(monkeypatch):
    monkeypatch.setattr(console, "PANIC_PATIENCE", 0.5)
    boot = "echo molt: molt 0.1.0/0123456789ab"
    panic = "echo 'molt: panic: no'; sleep 1.5"
    end = "sleep 1.5; echo molt: end ok; exit 1"
    outcome, log, _ = relay(f"{boot}; {panic}; {boot}; {end}", boots=2)
    assert outcome.kind == "ok" and [len(part.panics) for part in log.boots] == [1, 0]
    outcome, log, _ = relay(f"{boot}; {panic}; {boot}; {panic}; exec sleep 60", boots=2)
    assert outcome.kind == "stuck" and [len(part.panics) for part in log.boots] == [1, 1]


def test_relay__resets__one_for_each_text_in_order():
    boot = "echo molt: molt 0.1.0/0123456789ab"
    script = f"echo x; {boot}; echo y; echo x; read a; echo y $a; {boot}; echo y; read a; echo $a"
    lines = relay(script + "; exit 1", texts=["x", "y"])[1].lines
    assert [line for line in lines if "molt" not in line] == [
        "x", "y", "x", "y again", "y", "again"]


def test_relay__reset_after_a_delay__comes_then():
    script = "echo molt: molt 0.1.0/0123456789ab; date +%s%N; read x; date +%s%N; exit 1"
    _, before, after = relay(script, texts=["0.1.0"], delay_ms=300)[1].lines
    assert 0.25e9 < int(after) - int(before) < 5e9


def test_relay__emulator_fails__is_broken():
    assert relay("exit 3")[0].kind == "broken"


def test_relay__much_output__nothing_is_lost():
    # More than a pipe and the relay's own backlog hold, so the reader runs beside it.
    script = (
        "import subprocess, sys; sys.path[:0] = [{0!r}, {1!r}]; import test_runner as t;"
        "from moltlib import console; from moltlib.log import Log;"
        "m = t.FakeMachine('seq 200000; exit 1'); m.start();"
        "print(console.Relay(m, Log(), None, 60, False, 1).run().kind, file=sys.stderr)"
    ).format(HERE, os.path.join(ROOT, "tools"))
    done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, check=True)
    assert done.stdout.split() == [b"%d" % n for n in range(1, 200001)]
    assert done.stderr.strip() == b"ok"


@pytest.mark.parametrize(
    "code, errors, kind",
    [(1, "", "ok"), (3, "", "failed"), (0, "", "reset"), (-9, "", "broken"), (2, "", "broken")]
    + [(1, "qemu: no such option", "broken"), (1, "qemu: warning: no such feature", "ok")]
    + [(0, "warning: x", "reset"), (255, "", "failed")],
)
def test_qemu_outcome(tmp_path, code, errors, kind):
    (tmp_path / "emulator.err").write_text(errors)
    machine = emulator.Qemu(emulator.Machine("tcg", "x.iso"), str(tmp_path))
    machine.process = types.SimpleNamespace(returncode=code)
    assert machine.outcome().kind == kind


@pytest.mark.parametrize("words, accelerator", [
    ({"engine": "tcg", "cpus": 2}, "tcg,thread=single"),
    ({"engine": "tcg", "cpus": 1}, "tcg"),
    ({"engine": "tcg", "cpus": 2, "no_vmx": True}, "tcg"),
    ({"engine": "kvm", "cpus": 2}, "kvm"),
])
def test_qemu_command__several_cpus_with_svm__one_thread(tmp_path, words, accelerator):
    command = emulator.qemu_command(emulator.Machine(iso="x.iso", **words), str(tmp_path), [])
    assert command[command.index("-accel") + 1] == accelerator


@pytest.mark.parametrize(
    "text, kind",
    [
        ("[UNMAP ] Shutdown port: shutdown requested", "ok"),
        (">>PANIC<< exception(): 3rd (13) exception with no resolution", "reset"),
        (">>PANIC<< triple fault", "reset"),
        (">>PANIC<< no bootable device", "broken"),
        ("", "broken"),
    ],
)
def test_bochs_outcome(tmp_path, text, kind):
    (tmp_path / "bochs.log").write_text(text + "\n")
    machine = emulator.Bochs(emulator.Machine("bochs", "x.iso"), str(tmp_path))
    machine.process = types.SimpleNamespace(returncode=1)
    assert machine.outcome().kind == kind


def test_symbol_file__elf__addresses_and_names(tmp_path):
    source = tmp_path / "a.asm"
    source.write_text("global first\nsection .text\nfirst: nop\nsecond: nop\n")
    elf = tmp_path / "a.o"
    subprocess.run(["nasm", "-f", "elf64", "-o", elf, source], check=True)
    output = tmp_path / "symbols"
    assert debug.symbol_file(str(elf), str(output)) == 2
    assert output.read_text().splitlines()[0].split() == ["0000000000000000", "first"]


# --- tools/deps ---


def deps(tmp_path, absent, *words):
    """tools/deps with a dpkg-query that knows everything but `absent`."""
    fake = tmp_path / "dpkg-query"
    fake.write_text(
        "#!/bin/sh\nshift 2\nfor p; do case $p in " + (absent or "-") + ") ;; "
        "*) echo installed $p ;; esac; done\n"
    )
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    return subprocess.run(
        [os.path.join(ROOT, "tools", "deps"), *words],
        env=dict(os.environ, PATH=path), capture_output=True, text=True, timeout=60, check=False,
    )


def test_deps__all_there__says_nothing_is_missing(tmp_path):
    assert deps(tmp_path, "", "--check").returncode == 0
    quiet = deps(tmp_path, "")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")


def test_deps__missing__check_names_it_and_fails(tmp_path):
    done = deps(tmp_path, "xorriso|cpio", "--check")
    assert done.returncode == 1 and done.stderr == "deps: missing: xorriso cpio\n"


def test_deps__group__only_that_one(tmp_path):
    assert deps(tmp_path, "cpio", "--check", "run").returncode == 0
    assert deps(tmp_path, "cpio", "--check", "test").returncode == 1
    assert deps(tmp_path, "xorriso", "--check", "test").returncode == 0


def test_deps__wrong_usage__exit_code_2(tmp_path):
    assert deps(tmp_path, "", "nonsense").returncode == 2
