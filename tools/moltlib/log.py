# SPDX-License-Identifier: Apache-2.0
"""The grammar of molt's console, read in one place: the runner and the tests both use this.

    [NAME] text                           a guest's line
    molt: text                            molt's own line
    molt: update n=3 ok from=V/ID to=V/ID stream=N blackout=N save=N jump=N boot=N adopt=N resume=N
    molt: update n=3 refused reason="..."
    molt: update n=3 back code=N phase="..." rip=HEX blackout=N reason="..."
    molt: timeline n=3 khz=N stop=TSC [failed=TSC]           more about it, with the word timeline
    molt: timeline n=3 cpu=N tsc=TSC step="..."
    molt: timeline n=3 cpu=N apic=N stop=TSC online=TSC entered=TSC
    molt: timeline n=3 vcpu=NAME.N held=0|1 from=CPU to=CPU stopped=TSC entered=TSC
    molt: domain NAME id=N memory=NM ...  a guest was created
    molt: domain NAME exit=CODE           it ended by itself
    molt: end: domain NAME still runs ... it was asked to finish and did not
    molt: domain NAME stopped reason="..."
    molt: exits NAME total=N timer=N ...  its VM exits by reason, when it ended
    molt: lu: refused: WHY                an image was not loaded
    molt: memory: free=N ... sum ok|WRONG
    molt: digest NAME crc=...
    molt: audit: ok frames=N
    molt: audit: MISMATCH ...             what disagrees about a frame
    molt: console: N lines dropped
    molt: panic ...
    molt: end ok|failed                   the last line of an orderly run
    molt: molt V/ID                       the first line of a boot, but for an update's

A reset begins another boot in the same log; Log.boots has each by itself.

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
_BANNER = re.compile(r"molt: molt \S+/[0-9a-f]{12}$")
_ERASED = re.compile(r".*\r\x1b\[[02]?K")  # what a redrawn prompt has wiped from the screen
_FIELD = re.compile(r'([A-Za-z_][\w.-]*)=("(?:[^"\\]|\\.)*"|\S*)')
_GUEST = re.compile(r"\[([A-Za-z0-9_.-]+)\] ?(.*)")
# molt's console prints its prompt without a newline: a line may start behind one.
_MOLT = re.compile(r"(?:molt> ?)*molt: (.*)")
_UPDATE = re.compile(r"update (?=(?:n=\d+ )?(ok|refused|back)\b)(.*)")
_TIMELINE = "timeline "
_DOMAIN = re.compile(r"domain (\S+) (exit=|stopped\b)(.*)")
_UNFINISHED = re.compile(r"end: domain (\S+) still runs\b.*")
_CREATED = re.compile(r"domain (\S+) (id=.*)")
_AUDIT = "audit: "
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
    result: str = ""  # ok, refused, back (the new image failed, the old one went on)
    source: str = ""  # version/build-id before
    target: str = ""  # and after
    stream: int = None  # version of the stream that carried it
    blackout: int = None
    phases: dict = field(default_factory=dict)
    reason: str = ""
    code: int = None  # HC_LU_R_*, of those that came back
    phase: str = ""  # where the new image was then


@dataclass
class Step:
    """A step of an update on either image, as the flight recorder has it."""

    tsc: int
    cpu: int
    name: str


@dataclass
class CpuTimes:
    """A CPU in an update; host TSC, None: not known, or not yet."""

    cpu: int
    stop: int = None
    online: int = None
    entered: int = None


@dataclass
class VcpuTimes:
    """A vCPU in an update."""

    name: str  # DOMAIN.N
    held: bool  # it could run when the update met it
    source: int = None  # the CPU that it was on
    target: int = None  # and the one that it ran on first
    stopped: int = None
    entered: int = None


@dataclass
class Timeline:
    """The `molt: timeline` lines of one update."""

    update: Update
    khz: int = None  # of the TSC
    stop: int = None  # when the pause began
    failed: int = None  # when the new image failed
    steps: list = field(default_factory=list)
    cpus: list = field(default_factory=list)
    vcpus: list = field(default_factory=list)


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
    """A console log, complete or still growing: feed() bytes, then finish().

    resets: so many are expected. A reset may cut off a line in its middle, and then the first line
    of the next boot follows right there.
    """

    def __init__(self, data=b"", resets=0):
        self.resets = resets
        self.starts = []  # where in `lines` boots begin
        self._cut = set()  # which of the lines a reset cut off
        self.lines = []  # everything, cleaned
        self.guests = {}  # name -> list of texts
        self.molt = []  # molt's own texts, without the prefix
        self.domains = {}  # name -> fields of the line that announced it
        self.updates = []
        self.timelines = []  # one for each update, with the lines that came about it
        self.ends = []
        self.unfinished = []  # names of domains that still ran when molt ended the run
        self.digests = []
        self.panics = []
        self._panics_before = 0  # this boot
        self.refusals = []  # why images were not loaded
        self.memory = []  # fields of the lines that account for all frames, "sum" is ok or not
        self.audits = []  # "ok frames=N" or "MISMATCH ..."
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
    def read(cls, path, resets=0):
        with open(path, "rb") as file:
            return cls(file.read(), resets)

    @property
    def boots(self):
        """A log of each boot; what stands before the first one belongs to it."""
        found = [Log()]
        for index, text in enumerate(self.lines):
            if index in self.starts[1:]:
                found.append(Log())
            found[-1]._text(text, index in self._cut)
        return found

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

    @property
    def panicked(self):
        """The boot that goes on has panicked, and no reset is to come after it."""
        last = max(1, len(self.starts)) > self.resets
        return last and len(self.panics) > self._panics_before

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
        banner = _BANNER.search(text)
        if banner and banner.start() > 0 and self.resets > 0:
            self._cut.add(len(self.lines))
            self._text(text[: banner.start()], True)
            text = banner.group()
        self._text(text)

    def _text(self, text, cut=False):
        self.lines.append(text)
        if cut:
            return
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
        if _BANNER.fullmatch("molt: " + text):
            self.starts.append(line)
            self._panics_before = len(self.panics)
        elif text.startswith("panic") and not text[5:6].isalnum():
            self.panics.append(text)
        elif text.startswith(_REFUSED):
            self.refusals.append(text[len(_REFUSED) :])
        elif match := _MEMORY.fullmatch(text):
            self.memory.append(fields(match.group(1)) | {"sum": match.group(2)})
        elif text.startswith(_AUDIT):
            self.audits.append(text[len(_AUDIT) :])
        elif text in ("end ok", "end failed"):
            self.end = text[4:]
        elif match := _UPDATE.fullmatch(text):
            self._update(line, *match.groups())
        elif text.startswith(_TIMELINE):
            self._timeline(fields(text))
        elif match := _DOMAIN.fullmatch(text):
            name, how, rest = match.groups()
            if how == "exit=":
                self.ends.append(End(line, name, number(rest.split(" ")[0])))
            else:
                self.ends.append(End(line, name, None, fields(rest).get("reason", rest.strip())))
        elif match := _UNFINISHED.fullmatch(text):
            self.unfinished.append(match.group(1))
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
                stream=number(found.get("stream")),
                blackout=number(found.get("blackout")),
                phases={key: number(found.get(key)) for key in PHASES if key in found},
                reason=found.get("reason", ""),
                code=number(found.get("code")),
                phase=found.get("phase", ""),
            )
        )
        self.timelines.append(Timeline(self.updates[-1]))

    def _timeline(self, found):
        """A line about the last update; a damaged one is left out."""
        of = self.timelines[-1] if self.timelines else None
        if of is None or number(found.get("n")) != of.update.n:
            return

        def tsc(key):
            return number(found.get(key)) or None

        if "step" in found and tsc("tsc"):
            of.steps.append(Step(tsc("tsc"), number(found.get("cpu")), found["step"]))
        elif "vcpu" in found:
            held = found.get("held") == "1"
            where = number(found.get("from")), number(found.get("to"))
            of.vcpus.append(VcpuTimes(found["vcpu"], held, *where, tsc("stopped"), tsc("entered")))
        elif "apic" in found:
            cpu = number(found.get("cpu"))
            of.cpus.append(CpuTimes(cpu, tsc("stop"), tsc("online"), tsc("entered")))
        elif "khz" in found:
            of.khz, of.stop, of.failed = tsc("khz"), tsc("stop"), tsc("failed")
