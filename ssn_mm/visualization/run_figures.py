"""Figures of metrics, curves and costs of runs."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..suites.convergence import mark
from ..suites.results import Results
from ..suites.significance import compared, reference
from ..suites.suite import row_name
from ..suites.training import TRAINING
from .picture import Picture, line_style, new_figure

COSTS = {
    'ms per iteration, median of a run': ('seconds_per_iteration', 1e3),
    'MiB at most': ('memory', 1.0),
}


def plot_curves(results: Results) -> Picture | None:
    """Loss and accuracy of training and validation, mean and range over the seeds (Fig. 3)."""
    variants, labels = results.variants(), results.labels()
    there = dict.fromkeys(name for row in results.done for name in row['curves'])
    names = ['loss'] if 'loss' in there else []
    names += [name for name in there if name.startswith(TRAINING)]
    names += [results.main] if results.main in there else []
    if not names:
        return None
    figure = new_figure(max(4.0, 3.2 * len(variants)) + 1, 3.0 * len(names))
    grid = figure.subplots(len(names), len(variants), squeeze=False, sharey='row')
    lines: list[list[object]] = []
    for column, variant in enumerate(variants):
        for row, name in enumerate(names):
            axes = grid[row, column]
            for index, label in enumerate(labels):
                rows = results.of(label, variant)
                curves = [r['curves'][name] for r in rows if name in r['curves']]
                if not curves:
                    continue
                at, values = _aligned(curves)
                marker = {} if name == results.main else {'marker': ''}
                _draw_curve(axes, at, values, label, line_style(label, index) | marker)
                for seed, own in enumerate(values):
                    lines += [
                        [label, variant, seed, name, int(i), float(v)]
                        for i, v in zip(at, own, strict=True)
                    ]
            axes.set(xlabel='iteration' if row + 1 == len(names) else '')
            axes.grid(alpha=0.3)
            if name == 'loss' and axes.dataLim.y1 > 0:  # there are numbers above 0
                axes.set_yscale('log')
            if row == 0:
                axes.set_title(f'{results.variant} {variant}'.strip(), fontsize=10)
            if column == 0:
                told = {
                    'loss': 'training loss',
                    results.main: f'{results.main_and_rule} in validation',
                }
                axes.set_ylabel(told.get(name, name))
    handles = grid[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc='outside right upper', frameon=False, fontsize=8)
    head = ['label', results.variant or 'variant', 'run', 'curve', 'iteration', 'value']
    caption = 'Mean over the seeds; the shade spans from the lowest to the highest.'
    return Picture('curves', 'Training and validation (figure 3)', caption, figure, head, lines)


def _draw_curve(
    axes: Axes, at: np.ndarray, values: np.ndarray, label: str, style: dict[str, Any]
) -> None:
    """Draws the mean of curves, (S, T), and the range that they span."""
    low, high = values.min(0), values.max(0)
    axes.plot(at, values.mean(0), label=label, linewidth=1.3, **style)
    axes.fill_between(at, low, high, color=style['color'], alpha=0.15, linewidth=0)


def plot_metric(results: Results) -> Picture | None:
    """The main metric by variant; None where there is one variant only."""
    variants, labels = results.variants(), results.labels()
    if len(variants) < 2:
        return None
    panels = 1 + bool(results.paper)
    figure = new_figure(5.5 * panels, 4)
    grid = figure.subplots(1, panels, squeeze=False)[0]
    lines: list[list[object]] = []
    is_marked = False
    for index, label in enumerate(labels):
        style = line_style(label, index)
        there = [v for v in variants if results.values(label, v)]
        own = [results.values(label, v) for v in there]
        means = [float(np.mean(values)) for values in own]
        errors = [float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in own]
        at = [variants.index(v) for v in there]
        grid[0].errorbar(at, means, errors, label=label, capsize=3, **style)
        marks = [mark(results, label, v) for v in there]
        open_at = [i for i, own in enumerate(marks) if own]
        is_marked |= bool(open_at)
        grid[0].plot(
            [at[i] for i in open_at],
            [means[i] for i in open_at],
            **(style | dict(linestyle='', markerfacecolor='white', zorder=3)),
        )
        for variant, values in zip(there, own, strict=True):
            lines += [[label, variant, 'ours', value] for value in values]
        known = {v: results.paper.get(f'{label}, {v}') for v in variants} if results.paper else {}
        paper = [(variants.index(v), value[0]) for v, value in known.items() if value]
        if paper:
            grid[1].plot(*zip(*paper, strict=True), label=label, **style)
            lines += [[label, variants[i], "the paper's", value] for i, value in paper]
    for axes, title in zip(grid, ('ours', "the paper's"), strict=False):
        axes.set_xticks(range(len(variants)), variants)
        axes.set(xlabel=results.variant, title=title)
        axes.grid(alpha=0.3)
    grid[0].set_ylabel(results.main_and_rule)
    handles = grid[0].get_legend_handles_labels()
    figure.legend(*handles, loc='outside right upper', frameon=False, fontsize=8)
    head = ['label', results.variant or 'variant', 'whose', results.main]
    caption = 'Bars: standard deviation over the seeds.'
    if is_marked:
        caption += ' Open: has not converged, or was not checked.'
    title = f'{results.main} by {results.variant or "variant"}'
    return Picture('metric', title, caption, figure, head, lines)


def plot_differences(results: Results) -> Picture | None:
    """Differences to the reference, seed by seed; None where nothing is compared."""
    label = reference(results)
    found = {case: own for case, own in compared(results, label).items() if not own.hindrances}
    if not found:
        return None
    figure = new_figure(7, 1.4 + 0.26 * len(found))
    axes = figure.subplots()
    axes.axvline(0, color='0.6', linewidth=0.8)
    labels, lines = results.labels(), list[list[object]]()
    for place, ((other, variant), case) in enumerate(found.items()):
        own = case.difference
        style: dict[str, Any] = line_style(other, labels.index(other)) | {'linestyle': ''}
        ends = [[own.mean - own.low], [own.high - own.mean]]
        axes.errorbar([own.mean], [place], xerr=ends, capsize=3, **style)
        lines.append([label, other, variant, own.pairs, own.mean, own.low, own.high])
    names = [row_name(f'{label} - {n}', v) + own.doubt for (n, v), own in found.items()]
    axes.set_yticks(range(len(found)), names)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set(xlabel=f'difference in {results.main_and_rule}')
    axes.grid(alpha=0.3, axis='x')
    head = ['label', 'other', results.variant or 'variant', 'pairs', 'difference', 'low', 'high']
    caption = f'Mean difference of trainings with the same seed, and its {results.interval}.'
    if any(own.doubt for own in found.values()):
        caption += ' ?: convergence was not checked.'
    return Picture('differences', f'{label} against the others', caption, figure, head, lines)


def plot_cost(results: Results) -> Picture | None:
    """Time and memory of each run; None where neither was measured."""
    panels = {
        what: (key, factor)
        for what, (key, factor) in COSTS.items()
        if any(row[key] is not None for row in results.done)
    }
    if not panels:
        return None
    cases = [
        (label, variant, line_style(label, index)['color'])
        for variant in results.variants()
        for index, label in enumerate(results.labels())
        if results.of(label, variant)
    ]
    figure = new_figure(1.5 + 4 * len(panels), 1.6 + 0.28 * len(cases))
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    lines: list[list[object]] = []
    for place, (label, variant, color) in enumerate(cases):
        rows = results.of(label, variant)
        for axes, (key, factor) in zip(grid, panels.values(), strict=True):
            own = [row[key] * factor for row in rows if row[key] is not None]
            axes.plot(own, [place] * len(own), 'o', color=color, alpha=0.6)
            if own:
                axes.barh(place, np.mean(own), color=color, alpha=0.35, height=0.7)
        lines += [
            [label, variant, row['seed'], row['seconds_per_iteration'], row['memory']]
            for row in rows
        ]
    grid[0].set_yticks(range(len(cases)), [row_name(*case[:2]) for case in cases])
    grid[0].invert_yaxis()
    for axes, what in zip(grid, panels, strict=True):
        axes.set(xlabel=what)
    head = ['label', results.variant or 'variant', 'seed', 'seconds per iteration', 'MiB']
    caption = (
        'Dots are runs, bars their means. Memory is of the GPU, or without one of the largest '
        'process. Runs that shared a machine slowed each other: docs/benchmarks.md compares '
        'times side by side.'
    )
    return Picture('cost', 'Time and memory', caption, figure, head, lines)


def _aligned(curves: Sequence[Sequence[Sequence[float]]]) -> tuple[np.ndarray, np.ndarray]:
    """Curves of S seeds at the T iterations of the shortest: iterations (T,), values (S, T)."""
    at = np.array(min((own[0] for own in curves), key=len))
    return at, np.array([np.interp(at, own[0], own[1]) for own in curves])


def run_figures(results: Results) -> Iterator[Picture]:
    """The figures of this module that there is data for."""
    makers: tuple[Any, ...] = (plot_metric, plot_differences, plot_curves, plot_cost)
    for make in makers:
        if (picture := make(results)) is not None:
            yield picture
