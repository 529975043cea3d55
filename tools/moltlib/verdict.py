# SPDX-License-Identifier: Apache-2.0
"""Was it a good run?  Every way to fail has a key, so that a test can say which ones it expects."""

import statistics
from dataclasses import dataclass, field

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_TIMEOUT = 124
EXIT_QUIT = 130


@dataclass
class Outcome:
    """How the emulator ended.

    kind: "ok"       molt ended the machine and reported success (or the engine cannot tell)
          "failed"   molt ended the machine and reported failure
          "reset"    triple fault, reset or power-off
          "broken"   the emulator itself failed
          "timeout"  the time limit was reached
          "quit"     the user left
          "stuck"    nothing more came after a panic
    """

    kind: str
    text: str = ""


@dataclass
class Reason:
    key: str  # for example "update:3", "domain:worker", "end", "machine:reset"
    text: str


@dataclass
class Verdict:
    reasons: list = field(default_factory=list)
    code: int = 0

    @property
    def good(self):
        return not self.reasons

    @property
    def keys(self):
        return {reason.key for reason in self.reasons}


def judge(log, outcome, updates=None, guests=(), boots=1):
    """Judges a finished run.

    updates: exactly so many must have succeeded since the last reset; None: any number.
    guests: names of domains that molt must have created, since then too: what a boot has not shown
        is lost with its reset.
    boots: how often molt must have been started, 1 more than there were resets.
    """
    reasons = []

    def bad(key, text):
        reasons.append(Reason(key, text))

    if outcome.kind != "ok":
        bad("machine:" + outcome.kind, outcome.text or outcome.kind)
    parts = log.boots
    if len(parts) != boots:
        bad("boots", f"{boots} boots were expected, {len(parts)} seen")
    for part in parts:
        _judge_boot(part, bad)
    last = parts[-1]
    for name in guests:
        if name not in last.domains:
            bad("guest:" + name, f"guest {name} was not created")
    done = len(last.ok)
    if updates is not None and done != updates:
        bad("updates", f"{updates} updates were asked for, {done} succeeded")
    if last.end is None:
        bad("end", 'the log has no "molt: end" line')
    elif last.end != "ok":
        bad("end", "molt ended with failure")
    elif not last.molt[-1].startswith("end "):
        bad("end", f'molt printed more after "molt: end": {last.molt[-1]}')
    return Verdict(reasons, _code(reasons, outcome))


def _judge_boot(log, bad):
    """What holds of each boot, also of one that a reset ended."""
    if log.panics:
        bad("panic", log.panics[0])
    for update in log.updates:
        if update.result != "ok":
            why = update.reason or "no reason given"
            bad(f"update:{update.n}", f"update {update.n} {update.result}: {why}")
    if any(line["sum"] != "ok" for line in log.memory):
        bad("memory", "frames of memory are lost or counted twice")
    for text in log.audits:
        if not text.startswith("ok "):
            bad("audit", f"audit: {text}")
            break
    if log.dropped:
        bad("dropped", f"{log.dropped} console lines are missing")
    for end in log.ends:
        if end.code is None:
            why = end.reason or "no reason given"
            bad("domain:" + end.name, f"domain {end.name} stopped: {why}")
        elif end.code:
            bad("domain:" + end.name, f"domain {end.name} exited with {end.code}")
    for name in log.unfinished:
        bad("unfinished:" + name, f"domain {name} was asked to finish and still ran at the end")
    for name, text in log.damaged:
        bad("line:" + name, f"a line of {name} is damaged: {text}")
    for name, checks in log.checks.items():
        failed = max(len(checks.failed), checks.summary[1] if checks.summary else 0)
        if failed:
            first = f", first: {checks.failed[0]}" if checks.failed else ""
            bad("checks:" + name, f"{failed} of the checks of {name} failed{first}")
        elif checks.summary is None and log.exit_code(name) is not None:
            bad("checks:" + name, f"{name} exited without a SUMMARY line")
        elif checks.skipped and not checks.passed:
            bad("checks:" + name, f"{name} skipped all of its checks")


def _code(reasons, outcome):
    if outcome.kind == "timeout":
        return EXIT_TIMEOUT
    if outcome.kind == "quit":
        return EXIT_QUIT
    return EXIT_FAILED if reasons else 0


def summary(log, verdict):
    """Lines for the end of a run."""
    text = "updates: " + ", ".join(
        f"{len(log.counted(result))} {result}" for result in ("ok", "refused", "back")
    )
    if log.refusals:
        text += f"; {len(log.refusals)} images not loaded"
    blackouts = [update.blackout for update in log.ok if update.blackout is not None]
    if blackouts:
        median = round(statistics.median(blackouts))
        text += f"; blackout median {median}, max {max(blackouts)} cycles"
    lines = [text]
    if log.ends:
        lines.append("domains: " + ", ".join(_end(end) for end in log.ends))
    if log.checks:
        passed = sum(checks.passed for checks in log.checks.values())
        failed = sum(len(checks.failed) for checks in log.checks.values())
        skipped = sum(checks.skipped for checks in log.checks.values())
        lines.append(f"guests' checks: {passed} passed, {failed} failed, {skipped} skipped")
    lines += [f"failure {reason.key}: {reason.text}" for reason in verdict.reasons]
    lines.append("verdict: " + ("ok" if verdict.good else "FAILED"))
    return lines


def _end(end):
    if end.code is None:
        return f'{end.name} stopped ("{end.reason}")'
    return f"{end.name} exit={end.code}"
