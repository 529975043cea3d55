# SPDX-License-Identifier: Apache-2.0
"""The grammar of molt's console, read in one place: the runner and the tests both use this.

    [NAME] text                           a guest's line
    molt: text                            molt's own line
    molt: update n=3 ok from=V/ID to=V/ID blackout=N save=N jump=N boot=N adopt=N resume=N
    molt: update n=3 refused|failed reason="..."
    molt: domain NAME id=N memory=NM ...  a guest was created
    molt: domain NAME exit=CODE           it ended by itself
    molt: domain NAME stopped reason="..."
    molt: exits NAME total=N timer=N ...  its VM exits by reason, when it ended
    molt: lu: refused: WHY                an image was not loaded
    molt: memory: free=N ... sum ok|WRONG
    molt: digest NAME crc=...
    molt: console: N lines dropped
    molt: panic ...
    molt: end ok|failed                   the last line of an orderly run

A panic may come in the middle of another line: it is found wherever it stands outside of guests'.

Guests print `PASS|FAIL|SKIP: area: text` and `SUMMARY: n tests, m failures` inside their lines.
A guest's line that ends with ` crc=` and 8 hex digits names the CRC-32 of what stands before.
Carriage returns and terminal escapes (firmware prints some) are dropped.  Whatever else appears
is kept as a line and means nothing.
"""

import re
import zlib
from dataclasses import dataclass, field

_ESCAPES = re.compile(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Za-z0-9]|\x1b[=>78]|[\r\0\a]")
_ERASED = re.compile(r".*\r\x1b\[[02]?K")  # what a redrawn prompt has wiped from the screen
_FIELD = re.compile(r'([A-Za-z_][\w.-]*)=("(?:[^"\\]|\\.)*"|\S*)')
_GUEST = re.compile(r"\[([A-Za-z0-9_.-]+)\] ?(.*)")
# molt's console prints its prompt without a newline: a line may start behind one.
_MOLT = re.compile(r"(?:molt> ?)*molt: (.*)")
_UPDATE = re.compile(r"update (?=(?:n=\d+ )?(ok|refused|failed)\b)(.*)")
_DOMAIN = re.compile(r"domain (\S+) (exit=|stopped\b)(.*)")
_CREATED = re.compile(r"domain (\S+) (id=.*)")
_REFUSED = "lu: refused: "
_MEMORY = re.compile(r"memory: (.*) sum (\S+)")
_DROPPED = re.compile(r"console: (\d+) lines dropped")
_DIGEST = re.compile(r"digest (\S+) (.*)")
_CHECK = re.compile(r"(PASS|FAIL|SKIP): (.*)")
_CRC = re.compile(r"(.*) crc=([0-9a-f]{8})")
_PIECE = 240  # molt prints longer guest lines in pieces of so many characters
_TICK = re.compile(r"tick n=(\d+) .*")
_SUMMARY = re.compile(r"SUMMARY: (\d+) tests?, (\d+) failures?")

PHASES = ("save", "jump", "boot", "adopt", "resume")


def clean(line):
    """A console line without carriage returns and terminal escapes."""
    return _ESCAPES.sub("", _ERASED.sub("", line))


def fields(text):
    """key=value pairs of a line; a quoted value loses its quotes and backslashes."""
    found = {}
    for key, value in _FIELD.findall(text):
        if value.startswith('"') and value.endswith('"') and len(value) > 1:
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        found[key] = value
    return found


def number(text):
    """The integer that `text` spells, decimal or 0x; None if it spells none."""
    try:
        return int(text, 0)
    except (TypeError, ValueError):
        return None


@dataclass
class Update:
    """One `molt: update` line."""

    line: int
    n: int = None
    result: str = ""  # ok, refused, failed
    source: str = ""  # version/build-id before
    target: str = ""  # and after
    blackout: int = None
    phases: dict = field(default_factory=dict)
    reason: str = ""


@dataclass
class End:
    """How a domain ended: exit code, or None and a reason if it was stopped."""

    line: int
    name: str
    code: int = None
    reason: str = ""

    @property
    def good(self):
        return self.code == 0


@dataclass
class Digest:
    line: int
    name: str
    fields: dict


@dataclass
class Checks:
    """What one guest reported about its own checks."""

    passed: int = 0
    failed: list = field(default_factory=list)  # texts
    skipped: int = 0
    summary: tuple = None  # (tests, failures)


class Log:
    """A console log, complete or still growing: feed() bytes, then finish()."""

    def __init__(self, data=b""):
        self.lines = []  # everything, cleaned
        self.guests = {}  # name -> list of texts
        self.molt = []  # molt's own texts, without the prefix
        self.domains = {}  # name -> fields of the line that announced it
        self.updates = []
        self.ends = []
        self.digests = []
        self.panics = []
        self.refusals = []  # why images were not loaded
        self.memory = []  # fields of the lines that account for all frames, "sum" is ok or not
        self.dropped = 0  # lines that molt could not print
        self.damaged = []  # (guest name, text) of lines whose checksum is wrong
        self.checks = {}  # guest name -> Checks
        self.end = None  # "ok" or "failed": the last `molt: end` line
        self.complete = True  # the last line ended with a newline
        self._partial = b""
        if data:
            self.feed(data)
            self.finish()

    @classmethod
    def read(cls, path):
        with open(path, "rb") as file:
            return cls(file.read())

    def feed(self, data):
        """Takes more output; returns the number of lines completed by it."""
        *whole, self._partial = (self._partial + data).split(b"\n")
        self.complete = not self._partial
        for line in whole:
            self._line(line)
        return len(whole)

    def finish(self):
        """The output has ended: what is left over counts as a line."""
        rest, self._partial = self._partial, b""
        if clean(rest.decode("utf-8", "replace")):
            self._line(rest)

    @property
    def last(self):
        """The last thing printed, for messages: an unfinished line, or the last one with text."""
        partial = clean(self._partial.decode("utf-8", "replace")).strip()
        if partial:
            return partial
        return next((line for line in reversed(self.lines) if line.strip()), "")

    def counted(self, result):
        return [update for update in self.updates if update.result == result]

    @property
    def ok(self):
        return self.counted("ok")

    def exit_code(self, name):
        """The exit code of a domain; None if it did not exit by itself."""
        return next((end.code for end in self.ends if end.name == name), None)

    def ticks(self, name):
        """The numbers of a guest's tick lines."""
        found = map(_TICK.fullmatch, self.guests.get(name, []))
        return [int(match.group(1)) for match in found if match]

    def _line(self, raw):
        text = clean(raw.decode("utf-8", "replace"))
        self.lines.append(text)
        guest = _GUEST.fullmatch(text)
        if guest:
            self._guest(*guest.groups())
            return
        molt = _MOLT.fullmatch(text)
        if not molt and "molt: panic:" in text:
            self.panics.append(text[text.index("panic:") :])
        elif molt:
            self._molt(molt.group(1).rstrip())

    def _guest(self, name, text):
        texts = self.guests.setdefault(name, [])
        texts.append(text)
        crc = _CRC.fullmatch(text)
        if crc:
            before = crc.group(1)
            for piece in reversed(texts[:-1]):
                if len(piece) != _PIECE:
                    break
                before = piece + before
            if zlib.crc32(before.encode("utf-8", "replace")) != int(crc.group(2), 16):
                self.damaged.append((name, text))
        check = _CHECK.fullmatch(text)
        summary = _SUMMARY.fullmatch(text.rstrip())
        if not check and not summary:
            return
        checks = self.checks.setdefault(name, Checks())
        if summary:
            checks.summary = (int(summary.group(1)), int(summary.group(2)))
        elif check.group(1) == "PASS":
            checks.passed += 1
        elif check.group(1) == "SKIP":
            checks.skipped += 1
        else:
            checks.failed.append(check.group(2))

    def _molt(self, text):
        self.molt.append(text)
        line = len(self.lines) - 1
        if text.startswith("panic") and not text[5:6].isalnum():
            self.panics.append(text)
        elif text.startswith(_REFUSED):
            self.refusals.append(text[len(_REFUSED) :])
        elif match := _MEMORY.fullmatch(text):
            self.memory.append(fields(match.group(1)) | {"sum": match.group(2)})
        elif text in ("end ok", "end failed"):
            self.end = text[4:]
        elif match := _UPDATE.fullmatch(text):
            self._update(line, *match.groups())
        elif match := _DOMAIN.fullmatch(text):
            name, how, rest = match.groups()
            if how == "exit=":
                self.ends.append(End(line, name, number(rest.split(" ")[0])))
            else:
                self.ends.append(End(line, name, None, fields(rest).get("reason", rest.strip())))
        elif match := _CREATED.fullmatch(text):
            # What follows cmdline= is the guest's.
            own = match.group(2).partition(" cmdline=")[0]
            self.domains.setdefault(match.group(1), fields(own))
        elif match := _DROPPED.fullmatch(text):
            self.dropped += int(match.group(1))
        elif match := _DIGEST.fullmatch(text):
            self.digests.append(Digest(line, match.group(1), fields(match.group(2))))

    def _update(self, line, result, text):
        found = fields(text)
        self.updates.append(
            Update(
                line=line,
                n=number(found.get("n")),
                result=result,
                source=found.get("from", ""),
                target=found.get("to", ""),
                blackout=number(found.get("blackout")),
                phases={key: number(found.get(key)) for key in PHASES if key in found},
                reason=found.get("reason", ""),
            )
        )
