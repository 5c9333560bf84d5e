"""Draws docs/benchmarks.png from the rows of the benchmarks."""

import io
from collections.abc import Sequence
from dataclasses import replace

from _render_rows import INFERENCE, LAYER, PAPER, STEP, Row, by_device, competitors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ssn_mm.timing.rounds import TOTAL
from ssn_mm.timing.rows import Timings, has_neighbour
from ssn_mm.timing.tables import grouped, mean_memory, mean_ratio

DIGEST = 'Data'  # key of the picture's text that says which rows it shows
PANELS = {LAYER: 'one layer', STEP: 'training step', INFERENCE: 'deployed network'}
# Okabe and Ito's colour-blind safe colours but yellow, each with a marker of its own
MARKS = (
    ('#0072B2', 'o'),
    ('#D55E00', 's'),
    ('#009E73', '^'),
    ('#CC79A7', 'D'),
    ('#E69F00', 'v'),
    ('#56B4E9', 'P'),
    ('#000000', '*'),
)


def make_picture(measured: Sequence[Timings], digest: str) -> bytes:
    """A row a device: time and memory relative to batch norm, of a layer and of a step."""
    shown = by_device([t for t in measured if t.tool in PANELS and not has_neighbour(t)])
    panels = [
        (tool, what)
        for tool in PANELS
        for what in (('time',) if tool == INFERENCE else ('time', 'memory'))
        if any(timings.tool == tool for own in shown.values() for timings in own)
    ]
    tallest = max((len(competitors(r.rows)) for own in shown.values() for r in own), default=1)
    size = (0.6 + 3.7 * len(panels), len(shown) * (1.6 + 0.27 * tallest))
    figure = Figure(figsize=size if panels else (4, 1), layout='constrained')
    parts = figure.subfigures(max(1, len(shown)), 1, squeeze=False)[:, 0]
    for part, (device, own) in zip(parts, shown.items(), strict=False):
        part.suptitle(device, x=0.01, ha='left', weight='bold')
        line = part.subplots(1, len(panels), squeeze=False)[0]
        for axes, (tool, what) in zip(line, panels, strict=True):
            same = [timings for timings in own if timings.tool == tool]
            if same:
                draw(
                    axes,
                    replace(same[0], rows=[row for timings in same for row in timings.rows]),
                    what,
                )
            else:
                axes.set_axis_off()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, metadata={DIGEST: digest})
    return picture.getvalue()


def draw(axes: Axes, timings: Timings, what: str) -> None:
    """One panel: a line a competitor, a mark a group of cases, the baseline at 1.

    Bars reach from the smallest to the largest case of a group; of a single case, from the 20 %
    to the 80 % quantile.
    """
    base = timings.settings['baselines'][0]
    names = [name for name in competitors(timings.rows) if name != 'copy']
    groups = grouped(timings.rows, timings.settings['groups'])
    mean = mean_ratio if what == 'time' else mean_memory
    for index, (group, rows) in enumerate(groups.items()):
        colour, marker = MARKS[index % len(MARKS)]
        shift = (index - (len(groups) - 1) / 2) * 0.6 / len(groups)
        marks = []
        for place, name in enumerate(names):
            own = [row for row in rows if row['competitor'] == name]
            value = mean(own, base)
            if value is not None:
                marks.append((value, place + shift))
                axes.plot(extremes(own, base, what), [place + shift] * 2, color=colour, alpha=0.4)
        if marks:
            x, y = zip(*marks, strict=True)
            axes.scatter(x, y, s=24, color=colour, marker=marker, label=group, zorder=3)
    if timings.tool == INFERENCE:
        paper = {name: speed for name, speed in PAPER['resnet50'].items() if name in names}
        times, places = [paper[base] / v for v in paper.values()], [*map(names.index, paper)]
        axes.scatter(times, places, marker='x', color='0.3', label="the paper's R50")
    low, high = axes.get_xlim()
    fine = (1, 1.25, 1.5, 1.75) if high < 3 * low else (1, 1.5) if high < 8 * low else (1,)
    axes.set_xscale('log', base=2)
    axes.xaxis.set_major_locator(LogLocator(2, fine))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
    axes.axvline(1, color='0.3', linewidth=1, linestyle='--', zorder=1)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelleft=what == 'time')
    for label in axes.get_yticklabels():
        label.set_fontweight('bold' if label.get_text().startswith(('SN', 'SSN')) else 'normal')
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(color='0.9')
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_title(f'{PANELS[timings.tool]}, {what}', loc='left')
    axes.set_xlabel(f'{"time" if what == "time" else "peak memory"} / {base}, less is better')
    if what == 'time':
        axes.legend(loc='upper right', bbox_to_anchor=(1, -0.2), ncols=2, frameon=False, fontsize=8)


def extremes(rows: Sequence[Row], base: str, what: str) -> tuple[float, float]:
    """What the bar of a mark spans."""
    if what == 'memory':
        found = [row['peak_ratio'][base] for row in rows if base in (row['peak_ratio'] or {})]
    else:
        ratios = [row['ratio'][base][TOTAL] for row in rows if base in (row['ratio'] or {})]
        found = [
            r[q] for r in ratios for q in (('p20', 'p80') if len(ratios) == 1 else ('median',))
        ]
    return min(found), max(found)
