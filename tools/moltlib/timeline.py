# SPDX-License-Identifier: Apache-2.0
"""tools/molt timeline: pictures of a run's updates, one panel each.

What the log says (log.Timeline) becomes rows of bars over the TSC, and these become SVG. Rows: the
phases on the old and on the new image, each CPU, each vCPU. docs/ARCHITECTURE.md, "Figures", has
what the figures mean.
"""

import math
from dataclasses import dataclass, field

from moltlib.log import Log
from moltlib.options import UsageError
from moltlib.svg import Drawing, text_width

# ---- what is drawn ----


@dataclass
class Bar:
    """What something does from one moment to another; host TSC, None: before or behind all."""

    start: int
    end: int
    kind: str  # a key of _KINDS
    text: str = ""


@dataclass
class Row:
    label: str
    group: str  # image, cpu, vcpu
    bars: list
    steps: list = field(default_factory=list)  # finer bars, under the others
    note: str = ""


@dataclass
class Kind:
    color: str
    legend: str = ""
    ink: str = "#ffffff"
    hatch: bool = False


# Okabe and Ito's colours, which people see apart however they see colours; hatched besides where
# two of them are neighbours in meaning.
_KINDS = {
    "run": Kind("#56b4e9", "runs as a guest", "#1a1a1a"),
    "idle": Kind("#e3e3e3", "asleep, halted, idle", "#1a1a1a"),
    "queue": Kind("#bfe0f5", "waits for its turn", "#1a1a1a", True),
    "blackout": Kind("#d55e00", "blackout of a vCPU"),
    "turn": Kind("#d55e00", "... while its CPU runs another", "#1a1a1a", True),
    "old": Kind("#0072b2", "old image"),
    "new": Kind("#e69f00", "new image", "#1a1a1a"),
    "stopped": Kind("#999999", "CPU stopped"),
    "parked": Kind("#cfcfcf", "parked", "#1a1a1a", True),
    "starting": Kind("#f0e442", "CPU is let in", "#1a1a1a"),
}

# Names of steps, where the part behind the colon does not say it.
_STEPS = {
    "old: stop": "stop CPUs",
    "new: breadcrumb found": "memory",
    "new: adoption": "adopt",
    "new: commit 1": "resume",
    "old: back": "resume",
}
_ENTRY = "entry"
_AT_MOST = "\N{LESS-THAN OR EQUAL TO} "
_COMMIT = "new: commit 1"


class Story:
    """One update in moments: when everything was."""

    def __init__(self, timeline):
        self.timeline = timeline
        self.update = timeline.update
        phases = self.update.phases
        self.stop = timeline.stop or 0
        self.end = self.stop + self.update.blackout
        self.phases = [(key, phases[key]) for key in ("save", "jump", "boot", "adopt", "resume")
                       if phases.get(key) is not None]
        if len(self.phases) != 5:
            self.phases = []
        self.saved = self._phase_end(1) or self._step("old: jump")
        self.entry = self._phase_end(2) or next(
            (step.tsc for step in timeline.steps if step.name.startswith("new:")), None)
        self.commit = self._step(_COMMIT) or self._phase_end(4)
        self.back = self._step("old: back")

    def _step(self, name):
        return next((step.tsc for step in self.timeline.steps if step.name == name), None)

    def _phase_end(self, count):
        return self.stop + sum(length for _, length in self.phases[:count]) if self.phases else None

    def cpu(self, number):
        return next((cpu for cpu in self.timeline.cpus if cpu.cpu == number), None)

    def stop_of(self, number):
        cpu = self.cpu(number)
        return cpu.stop if cpu and cpu.stop else self.stop


def _phase_bars(story):
    """The figures of the update's line, as bars."""
    at, bars = story.stop, []
    for name, length in story.phases:
        bars.append(Bar(at, at + length, "old" if name in ("save", "jump") else "new", name))
        at += length
    return bars


def _step_bars(story):
    """The recorder's steps: each lasts until the next one."""
    moments = [[step.tsc, step.name] for step in story.timeline.steps]
    if moments and story.phases:
        moments.append([story.entry, "new: " + _ENTRY])
    moments.sort()
    if moments:
        moments[0][0] = min(moments[0][0], story.stop)
    bars = []
    kind = "old"
    for (start, name), (end, _) in zip(moments, moments[1:] + [[story.end, ""]]):
        image = name.partition(":")[0]
        kind = image if image in ("old", "new") else kind  # the way back is of who takes it
        text = _STEPS.get(name, name.partition(": ")[2] or name)
        bars.append(Bar(start, max(start, end), kind, text))
    return bars


def _image_rows(story):
    phases, steps = _phase_bars(story), _step_bars(story)
    rows = []
    for kind, version in (("old", story.update.source), ("new", story.update.target)):
        fine = [bar for bar in steps if bar.kind == kind]
        main = [bar for bar in phases if bar.kind == kind]
        if not phases:
            main, fine = fine, []
        label = f"{kind} image"
        rows.append(Row(label, "image", main, fine, version.partition("/")[0]))
    return [row for row in rows if row.bars]


def _first_cpu(story, stop, end):
    """The one that saves and jumps."""
    if story.entry is None:
        return [Bar(stop, end, "old")]
    bars = [Bar(stop, story.entry, "old"), Bar(story.entry, story.back or end, "new")]
    return bars + ([Bar(story.back, end, "old")] if story.back else [])


def _other_cpu(story, stop, end, online):
    let_in = story.commit if story.back is None else story.back
    if None in (story.saved, let_in, online) or online < stop:
        return [Bar(stop, end, "stopped")]
    return [
        Bar(stop, max(stop, story.saved), "stopped"),
        Bar(max(stop, story.saved), let_in, "parked"),
        Bar(let_in, online, "starting"),
        Bar(online, end, "idle"),
    ]


def _cpu_row(story, cpu):
    stop = story.stop_of(cpu.cpu)
    end = cpu.entered or max(story.end, cpu.online or 0)
    had_guest = any(v.source == cpu.cpu and v.stopped == stop for v in story.timeline.vcpus)
    bars = [Bar(None, stop, "run" if had_guest else "idle")] if cpu.stop else []
    if cpu.cpu == 0:
        bars += _first_cpu(story, stop, end)
    else:
        bars += _other_cpu(story, stop, end, cpu.online)
    bars.append(Bar(end, None, "run" if cpu.entered else "idle"))
    return Row(f"CPU {cpu.cpu}", "cpu", bars)


def blackout_of(story, vcpu):
    """(from, to) of a vCPU that was held up; to is None while it has not run."""
    return max(vcpu.stopped or 0, story.stop_of(vcpu.source)), vcpu.entered


def _vcpu_row(story, vcpu):
    bars = []
    start, end = blackout_of(story, vcpu)
    if vcpu.stopped:
        bars.append(Bar(None, vcpu.stopped, "run"))
        if vcpu.held and vcpu.stopped < start:
            bars.append(Bar(vcpu.stopped, start, "queue"))
    if vcpu.held:
        cpu = story.cpu(vcpu.target)
        # Where it is not known when it stopped: since the pause began, or less.
        bars.append(Bar(start, end, "blackout", "" if vcpu.stopped else _AT_MOST))
        if end and cpu and cpu.entered and cpu.entered < end:
            bars.append(Bar(max(cpu.entered, start), end, "turn"))
    else:
        bars.append(Bar(vcpu.stopped, end, "idle"))
    if end:
        bars.append(Bar(end, None, "run"))
    places = [str(cpu) for cpu in (vcpu.source, vcpu.target) if cpu is not None]
    note = "CPU " + " \N{RIGHTWARDS ARROW} ".join(dict.fromkeys(places)) if places else ""
    return Row(vcpu.name, "vcpu", bars, note=note)


def rows_of(story):
    of = story.timeline
    rows = _image_rows(story)
    rows += [_cpu_row(story, cpu) for cpu in sorted(of.cpus, key=lambda cpu: cpu.cpu or 0)]
    return rows + [_vcpu_row(story, vcpu) for vcpu in of.vcpus]


def span_of(story):
    """What of time is drawn: the pause, what follows soon, and something on both sides."""
    length = max(story.end - story.stop, 1)
    limit = story.end + length // 2
    of = story.timeline
    ends = [row.entered for row in of.cpus] + [vcpu.entered for vcpu in of.vcpus if vcpu.held]
    last = max([end for end in ends if end and end <= limit] + [story.end])
    return story.stop - length // 12, last + length // 8


# ---- figures in words ----


class Units:
    """How lengths are written, and the axis divided."""

    def __init__(self, khz, choice):
        if choice == "us" and not khz:
            raise UsageError("--unit us: the log does not tell the frequency of the TSC")
        self.khz = khz if choice != "cycles" else None

    def length(self, cycles):
        if not self.khz:
            return f"{cycles:,} cycles"
        us = cycles * 1000 / self.khz
        if us >= 1000:
            return f"{us / 1000:.3g} ms" if us < 1e6 else f"{us / 1000:,.0f} ms"
        return f"{us:.0f} \N{MICRO SIGN}s" if us >= 100 else f"{us:.2g} \N{MICRO SIGN}s"

    def both(self, cycles):
        return f"{self.length(cycles)} ({cycles:,} cycles)" if self.khz else self.length(cycles)

    def axis(self, cycles, pixels):
        """(cycles between two ticks, cycles of one unit, name of the unit) for so many cycles."""
        if not self.khz:
            one, name = 1, "TSC cycles"
        elif cycles >= 5 * self.khz:
            one, name = self.khz, "milliseconds"
        else:
            one, name = self.khz / 1000, "microseconds"
        least = cycles / one / max(pixels // 90, 2)
        power = 10 ** math.floor(math.log10(least))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
        return step * one, one, name


def _number(value):
    text = f"{value:,.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text.replace("-", "\N{MINUS SIGN}")


# ---- drawing ----

_WIDTH, _LEFT, _RIGHT, _MARGIN = 1280, 190, 28, 16
_HEIGHTS = {"image": 26, "cpu": 20, "vcpu": 22}
_STEPS_HEIGHT = 16
_SIZE, _SMALL = 12, 10


class Panel:
    """One update's rows, from `top` on."""

    def __init__(self, drawing, story, units, top):
        self.drawing, self.story, self.units = drawing, story, units
        self.y = top
        self.kinds = set()  # of bars that are drawn
        self.start, self.end = span_of(story)
        self.scale = (_WIDTH - _LEFT - _RIGHT) / (self.end - self.start)

    def x(self, tsc):
        """Where a moment is, inside the panel."""
        return _LEFT + (min(max(tsc, self.start), self.end) - self.start) * self.scale

    def draw(self):
        self.drawing.raw(f'<g class="update" data-n="{self.story.update.n}">')
        self._title()
        self._blackout_arrow()
        self._marks()
        rows = rows_of(self.story)
        top, group = self.y, None
        behind = self.drawing.mark()
        for row in rows:
            self.y += 10 if group not in (None, row.group) else 4
            group = row.group
            self._row(row)
        self.y += 8
        self._band(top, behind)
        self._axis()
        self._lengths()
        self.drawing.raw("</g>")
        return self.y

    def _title(self):
        update, draw = self.story.update, self.drawing
        self.y += 18
        if update.result == "back":
            text = f"Update {update.n} failed, and the old image came back"
            detail = f"code {update.code}, in \N{LEFT DOUBLE QUOTATION MARK}{update.phase}" \
                     f"\N{RIGHT DOUBLE QUOTATION MARK}: {update.reason}"
        else:
            versions = [name.partition("/")[0] for name in (update.source, update.target)]
            text = f"Update {update.n}: molt " + " \N{RIGHTWARDS ARROW} ".join(versions)
            detail = f"{update.source} to {update.target}, stream version {update.stream}"
        draw.text(_MARGIN, self.y, text, 16, font_weight="bold")
        room = _WIDTH - _MARGIN - _RIGHT - text_width(text, 16) - 24
        self.drawing.text(_WIDTH - _RIGHT, self.y, _cut(detail, room, 11), 11, text_anchor="end",
                          fill="#555555")

    def _blackout_arrow(self):
        left, right = self.x(self.story.stop), self.x(self.story.end)
        text = "blackout " + self.units.both(self.story.end - self.story.stop)
        self.y += 22
        y, half = self.y - 4, text_width(text, _SIZE) / 2
        middle = min(max((left + right) / 2, _LEFT + half), _WIDTH - _RIGHT - half)
        gap = (middle - half - 4, middle + half + 4)
        style = {"stroke": "#d55e00", "stroke_width": 1.5}
        for tip, inner, sign in ((left, gap[0], 1), (right, gap[1], -1)):
            self.drawing.line(tip, y - 5, tip, y + 5, **style)
            if (inner - tip) * sign > 4:
                self.drawing.line(tip, y, inner, y, **style)
                self.drawing.element(
                    "path", d=f"M{tip:.2f} {y:.2f}l{sign * 7} -3.5v7z", fill="#d55e00")
        self.drawing.text(middle, self.y, text, _SIZE, text_anchor="middle", font_weight="bold",
                          class_="total")

    def _marks(self):
        """Moments with a name, above the rows."""
        self.y += 8
        self.marks = []
        story = self.story
        if story.update.result == "ok" and story.commit:
            self.marks.append((story.commit, "commit 1", "#009e73"))
        if story.timeline.failed and story.stop <= story.timeline.failed <= story.end:
            self.marks.append((story.timeline.failed, "failed", "#cc3377"))
        if self.marks:
            self.y += 8
        for tsc, text, color in self.marks:
            late = tsc > (story.stop + story.end) / 2
            self.drawing.text(self.x(tsc) + (-4 if late else 4), self.y, text, _SMALL, fill=color,
                              text_anchor="end" if late else "start", class_="mark", data_tsc=tsc)

    def _band(self, top, behind):
        """The pause, through all rows and behind them."""
        left, right = self.x(self.story.stop), self.x(self.story.end)
        with self.drawing.at(behind):
            self.drawing.rect(left, top, right - left, self.y - top, class_="pause",
                              fill="#d55e00", fill_opacity=0.07)
        for tsc in (self.story.stop, self.story.end):
            self.drawing.line(self.x(tsc), top, self.x(tsc), self.y, stroke="#d55e00",
                              stroke_dasharray="4 3")
        for tsc, _, color in self.marks:
            self.drawing.line(self.x(tsc), top, self.x(tsc), self.y, stroke=color,
                              stroke_dasharray="2 2")

    def _row(self, row):
        height = _HEIGHTS[row.group]
        middle = self.y + height / 2 + 4
        room = _LEFT - _MARGIN - 18 - text_width(row.note, _SMALL)
        self.drawing.text(_MARGIN, middle, _cut_name(row.label, room, _SIZE), _SIZE)
        self.drawing.text(_LEFT - 10, middle, row.note, _SMALL, text_anchor="end", fill="#555555")
        for bar in row.bars:
            self._bar(row, bar, self.y, height)
        self._texts(row, row.bars, self.y, height, _SIZE)
        self.y += height
        for bar in row.steps:
            self._bar(row, bar, self.y + 2, _STEPS_HEIGHT, fill_opacity=0.35)
        if row.steps:
            self._texts(row, row.steps, self.y + 2, _STEPS_HEIGHT, _SMALL, "#1a1a1a")
            self.y += _STEPS_HEIGHT + 2

    def _ends(self, bar):
        return (self.x(self.start if bar.start is None else bar.start),
                self.x(self.end if bar.end is None else bar.end))

    def _bar(self, row, bar, y, height, **style):
        if (bar.start or self.start) > self.end or (bar.end or self.end) < self.start:
            return
        left, right = self._ends(bar)
        self.kinds.add(bar.kind)
        kind = _KINDS[bar.kind]
        title = f"{row.label}: {kind.legend if bar.kind == 'blackout' else bar.text or kind.legend}"
        if bar.start is not None and bar.end is not None:
            title += ", " + self.units.both(bar.end - bar.start)
        inset = 5 if bar.kind in ("idle", "queue") else 0
        fill = f"url(#{bar.kind})" if kind.hatch else kind.color
        self.drawing.rect(left, y + inset, max(right - left, 0.6), height - 2 * inset, title=title,
                          class_=bar.kind, fill=fill, data_row=row.label, data_from=bar.start,
                          data_to=bar.end, stroke="#ffffff" if row.group == "image" else None,
                          stroke_width=0.7 if row.group == "image" else None, **style)

    def _text_of(self, bar):
        if bar.kind == "blackout":
            if not bar.end:
                return "has not run yet"
            more = " \N{RIGHTWARDS ARROW}" if bar.end > self.end else ""
            return bar.text + self.units.length(bar.end - bar.start) + more
        if bar.kind in ("parked", "stopped", "starting") or bar.text:
            return bar.text or bar.kind
        return ""

    def _texts(self, row, bars, y, height, size, ink=None):
        """In its bar, where a text fits; else behind the last bar. What is left out here stands in
        the tooltips and under the axis."""
        turn = next((bar for bar in bars if bar.kind == "turn"), None)
        for index, bar in enumerate(bars):
            text = self._text_of(bar)
            left, right = self._ends(bar)
            if bar.kind == "blackout" and turn:
                right = self._ends(turn)[0]
            base = y + height / 2 + size * 0.36
            if text_width(text, size) + 6 <= right - left:
                self.drawing.text((left + right) / 2, base, text, size, text_anchor="middle",
                                  fill=ink or _KINDS[bar.kind].ink, data_row=row.label)
            elif row.group == "image" and index == len(bars) - 1 and \
                    right + text_width(text, size) + 8 <= _WIDTH - 4:
                self.drawing.text(right + 5, base, text, size, data_row=row.label)

    def _axis(self):
        step, one, name = self.units.axis(self.end - self.start, _WIDTH - _LEFT - _RIGHT)
        y = self.y
        self.drawing.line(_LEFT, y, _WIDTH - _RIGHT, y, stroke="#1a1a1a")
        first = math.ceil((self.start - self.story.stop) / step)
        last = math.floor((self.end - self.story.stop) / step)
        for tick in range(first, last + 1):
            x = self.x(self.story.stop + tick * step)
            self.drawing.line(x, y, x, y + 5, stroke="#1a1a1a")
            self.drawing.text(x, y + 17, _number(tick * step / one), _SMALL, text_anchor="middle",
                              class_="tick")
        self.drawing.text(_MARGIN, y + 17, name, _SMALL)
        self.y += 22

    def _lengths(self):
        """All phases and steps with their lengths, also those too short for a text."""
        story = self.story
        for head, bars in (("Phases", _phase_bars(story)), ("Steps", _step_bars(story))):
            parts = [f"{bar.text} {self.units.length(bar.end - bar.start)}" for bar in bars]
            for index, line in enumerate(_wrap(parts, _WIDTH - _LEFT - _RIGHT, _SMALL)):
                self.y += 14
                if index == 0:
                    self.drawing.text(_MARGIN, self.y, head, _SMALL, fill="#555555")
                self.drawing.text(_LEFT, self.y, line, _SMALL, fill="#555555")
        if not story.timeline.cpus:
            self.y += 14
            self.drawing.text(_LEFT, self.y, "CPUs and vCPUs: with the word timeline on molt's "
                              "command line", _SMALL, fill="#555555")


def _cut(text, width, size):
    if text_width(text, size) <= width:
        return text
    return text[: max(int(width / text_width("x", size)) - 1, 1)] + "\N{HORIZONTAL ELLIPSIS}"


def _cut_name(name, width, size):
    """What is behind the last dot tells a domain's vCPUs apart: it stays."""
    domain, dot, number = name.rpartition(".")
    return _cut(domain, width - text_width(dot + number, size), size) + dot + number


def _wrap(parts, width, size):
    lines = []
    for part in parts:
        if lines and text_width(f"{lines[-1]} \N{MIDDLE DOT} {part}", size) <= width:
            lines[-1] += f" \N{MIDDLE DOT} {part}"
        else:
            lines.append(part)
    return lines


def _patterns(drawing):
    for name, kind in _KINDS.items():
        if kind.hatch:
            drawing.raw(
                f'<pattern id="{name}" width="6" height="6" patternUnits="userSpaceOnUse" '
                f'patternTransform="rotate(45)"><rect width="6" height="6" fill="#ffffff"/>'
                f'<rect width="3.2" height="6" fill="{kind.color}"/></pattern>'
            )


def _legend(drawing, y, kinds):
    x = _MARGIN
    drawing.raw('<g class="legend">')
    for name, kind in _KINDS.items():
        if name not in kinds:
            continue
        width = 26 + text_width(kind.legend, _SMALL) + 14
        if x + width > _WIDTH - _RIGHT:
            x, y = _MARGIN, y + 20
        drawing.rect(x, y, 18, 12, fill=f"url(#{name})" if kind.hatch else kind.color)
        drawing.text(x + 24, y + 10, kind.legend, _SMALL)
        x += width
    drawing.raw("</g>")
    return y + 24


def picture(timelines, unit="auto"):
    """The SVG of these updates, one panel below the other."""
    drawing = Drawing(_WIDTH)
    _patterns(drawing)
    background = drawing.mark()
    y, kinds = _MARGIN, set()
    for index, timeline in enumerate(timelines):
        if index:
            drawing.line(_MARGIN, y + 12, _WIDTH - _MARGIN, y + 12, stroke="#cccccc")
            y += 22
        panel = Panel(drawing, Story(timeline), Units(timeline.khz, unit), y)
        y = panel.draw()
        kinds |= panel.kinds
    drawing.height = math.ceil(_legend(drawing, y + 18, kinds))
    with drawing.at(background):
        drawing.rect(0, 0, _WIDTH, drawing.height, fill="#ffffff")
    return drawing.write()


# ---- the command ----


def timelines_of(log):
    """What can be drawn: updates that had a pause and an end."""
    return [of for of in log.timelines if of.update.result in ("ok", "back") and of.update.blackout]


def chosen(log, numbers):
    """Those with these numbers, in this order; all without any."""
    drawable = timelines_of(log)
    if not drawable:
        raise UsageError("the log has no update that took place")
    if not numbers:
        return drawable
    missing = [number for number in numbers if all(of.update.n != number for of in drawable)]
    if missing:
        raise UsageError(f"--update {missing[0]}: the log has no such update that took place")
    return [of for number in numbers for of in drawable if of.update.n == number]


def write(log, path, numbers=(), unit="auto"):
    """Draws; returns how many updates."""
    timelines = chosen(log, numbers)
    text = picture(timelines, unit)
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    return len(timelines)


def read(path):
    try:
        return Log.read(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
