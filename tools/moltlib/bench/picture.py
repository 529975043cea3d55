# SPDX-License-Identifier: Apache-2.0
"""Figures as a picture, drawn by Debian's python3-matplotlib."""

from moltlib.bench.figure import BOCHS
from moltlib.log import PHASES

COLORS = ("#4477aa", "#66ccee", "#228833", "#ccbb44", "#ee6677")
MOLT, PEER = COLORS[0], "#bbbbbb"
SIZE = (13, 15)  # inches
LINES = (
    ("ram", "Blackout against RAM, the same guest", "RAM of the host, GiB", "log", "linear"),
    ("extents", "Blackout against extents of 4 KiB", "extents", "log", "log"),
    ("vcpus", "Blackout against vCPUs of a Linux, 1 CPU", "vCPUs", "linear", "linear"),
)


def short(value):
    """A number for a label: three digits that count."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {unit}"
    return f"{value:.3g}"


def short_ticks():
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: short(value) if value else "0")


def members(figures, group):
    return [figure for figure in figures if figure.group == group]


def phases(axes, figures):
    """One bar for each set of guests, its phases side by side in the order of time."""
    found = {}
    for figure in members(figures, "blackout"):
        name, _, part = figure.name.partition(": ")
        found.setdefault(name, {})[part] = figure
    names = list(found)
    axes.set_title("Blackout of an update by phase")
    start = [0] * len(names)
    for phase, color in zip(PHASES, COLORS):
        values = [found[name][phase].value for name in names]
        axes.barh(names, values, left=start, color=color, label=phase)
        start = [left + value for left, value in zip(start, values)]
    ends = [found[name]["blackout"].p99 for name in names]
    axes.plot(ends, names, "|", color="black", markersize=16, label="p99 of the whole")
    for name, end in zip(names, ends):
        axes.annotate(f"  {short(end)}", (end, name), va="center", fontsize=8)
    axes.set_xlim(0, max(ends, default=1) * 1.3)
    axes.invert_yaxis()
    axes.legend(fontsize=8, loc="lower right")
    axes.set_xlabel("instructions on Bochs, median of each phase")
    axes.xaxis.set_major_formatter(short_ticks())


def series(axes, figures, group, title, label, x_scale, y_scale):
    """A line through the medians of a series' blackouts, and one through the 99th percentiles."""
    line = sorted((f for f in members(figures, group) if f.name.endswith(": blackout")),
                  key=lambda figure: figure.x)
    x = [figure.x for figure in line]
    axes.set_title(title)
    if not line:  # the cases have failed
        return
    axes.plot(x, [f.value for f in line], "o-", color=MOLT, label="median")
    axes.plot(x, [f.p99 for f in line], "^:", color=COLORS[4], label="p99")
    axes.set_xscale(x_scale)
    axes.set_yscale(y_scale)
    if y_scale == "linear":
        axes.set_ylim(0, 1.25 * max(f.p99 for f in line))
    axes.set_xticks(x, [short(value) if value >= 10000 else f"{value}" for value in x])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(short_ticks())
    axes.set_xlabel(label)
    axes.set_ylabel("instructions on " + ("Bochs" if line[0].unit == BOCHS else "QEMU TCG"))
    axes.legend(fontsize=8, loc="lower right")
    axes.grid(alpha=0.3)


def bars(axes, rows, title, label):
    """Bars of (name, value, whether it is molt's), each with its number."""
    axes.set_title(title)
    if not rows:
        return
    names = [name for name, _, _ in rows]
    values = [value for _, value, _ in rows]
    axes.barh(names, values, color=[MOLT if ours else PEER for _, _, ours in rows])
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 3, max(values) * 5)
    for name, value, _ in rows:
        axes.annotate(f" {short(value)}", (value, name), va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(label)


def boot_rows(figures):
    """molt's boot and pauses beside what others take."""
    rows = [(f.name, f.value, f.name.startswith("molt")) for f in members(figures, "boot")]
    rows += [("Linux " + f.name, f.value, f.name.startswith("under molt"))
             for f in members(figures, "linux") if f.name.endswith("GRUB to /init")]
    rows += [("molt's blackout, " + f.name.partition(":")[0], f.value, True)
             for f in members(figures, "blackout") if f.name.endswith(": blackout")]
    return sorted(rows, key=lambda row: row[1])


def draw(figures, path):
    """Writes the picture as SVG."""
    # Only here: nothing but this function needs the package.
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "molt"  # the same figures, the same file
    from matplotlib import pyplot

    picture = pyplot.figure(figsize=SIZE, layout="constrained")
    top, middle, low, bottom = picture.subfigures(4, 1, height_ratios=(1.1, 1.2, 1.2, 1.4))
    picture.suptitle("molt in numbers: blue is molt, grey what it is held against "
                     "(docs/PERFORMANCE.md)", fontsize=13)
    phases(top.subplots(), figures)
    for axes, line in zip(middle.subplots(1, len(LINES)), LINES):
        series(axes, figures, *line)
    exits, native = low.subplots(1, 2)
    rows = [(f.name, f.value, f.name.startswith("molt")) for f in members(figures, "exits")]
    bars(exits, rows, "From a guest into the hypervisor and back", "instructions on Bochs")
    found = members(figures, "native")
    rows = [(f.name, f.value, f.name.startswith("rebuild")) for f in found]
    bars(native, rows, "Owners of frames found again", found[0].unit if found else "ns")
    bars(bottom.subplots(), boot_rows(figures), "Boots and pauses on the same emulator",
         "instructions on Bochs")
    picture.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(picture)
