"""Figures of ratios: how layers select, over the training and layer by layer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..engine.ratios import Ratios
from ..layers import block_of
from ..ops import circumscribed_radius, inscribed_radius
from ..suites.results import Results
from ..suites.suite import row_name
from ..suites.training import unpack
from .picture import COLOURS, DASHES, HATCHES, Picture, new_figure, stack

ROWS = ('mean', 'variance')


def plot_average_ratios(results: Results) -> Picture | None:
    """Average ratio of each normalizer at the end over layers and seeds, by variant (Fig. 4)."""
    cases = [
        (label, variant, [unpack(row['ratios']) for row in rows])
        for label in results.labels()
        for variant in results.variants()
        if (rows := [row for row in results.of(label, variant) if row['ratios']])
    ]
    if len(cases) < 2:
        return None
    normalizers = cases[0][2][0].normalizers
    figure = new_figure(max(6.0, 1.1 * len(cases) + 2), 4.5)
    panels = figure.subplots(2, 1)
    lines: list[list[object]] = []
    for row, axes in enumerate(panels):
        averages = [
            np.mean([_columns(run, normalizers)[-1, :, row].mean(0) for run in runs], 0)
            for *_, runs in cases
        ]
        stack(axes, normalizers, [own.tolist() for own in averages])
        axes.set_ylabel(f'{ROWS[row]}s')
        for (label, variant, _), own in zip(cases, averages, strict=True):
            lines += [
                [label, variant, ROWS[row], name, float(ratio)]
                for name, ratio in zip(normalizers, own, strict=True)
            ]
    names = [f'{label}\n{variant}' if variant else label for label, variant, _ in cases]
    panels[1].set_xticks(range(len(names)), names)
    panels[1].set_xlabel(results.variant)
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside right upper', frameon=False)
    head = ['label', results.variant or 'variant', 'row', 'normalizer', 'average ratio']
    caption = 'Average of the last ratios over all layers and seeds.'
    title = 'Average importance ratios (figure 4)'
    return Picture('average_ratios', title, caption, figure, head, lines)


def plot_layers(runs: Mapping[str, Ratios]) -> Picture:
    """The last ratios of every layer, a pair of lines a run (Fig. 5).

    Args:
        runs: By name, such as 'SN' and 'SSN'; their layers have the same names.
    """
    layers = next(iter(runs.values())).layers
    figure = new_figure(max(8.0, 0.2 * len(layers) + 1.5), 1.6 + 2.0 * len(runs))
    panels = figure.subplots(2 * len(runs), 1)
    lines: list[list[object]] = []
    for index, (name, run) in enumerate(runs.items()):
        for row, what in enumerate(ROWS):
            axes, last = panels[2 * index + row], run.ratios[-1, :, row]
            stack(axes, run.normalizers, last.tolist())
            axes.set_ylabel(what)
            if row == 0:
                axes.set_title(name)
            lines += [
                [name, layer, what, normalizer, float(p)]
                for layer, own in zip(run.layers, last, strict=True)
                for normalizer, p in zip(run.normalizers, own, strict=True)
            ]
    panels[-1].set_xticks(range(len(layers)), layers, rotation=90)
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside right upper', frameon=False)
    head = ['run', 'layer', 'row', 'normalizer', 'ratio']
    caption = 'Ratios at the end of training, layer by layer.'
    return Picture('layers', 'Ratios of every layer (figure 5)', caption, figure, head, lines)


def plot_progress(run: Ratios) -> Picture:
    """Radius, part of the rows that have selected, and average ratios over the training."""
    figure = new_figure(11, 3.6)
    left, *panels = figure.subplots(1, 3)
    selected = (run.ratios == 1).any(-1).mean((1, 2))
    left.plot(run.iters, selected, color='black', label='part selected')
    size = len(run.normalizers)
    if not np.isnan(run.radius).all():
        left.plot(run.iters, run.radius, color='0.5', linestyle='--', label='radius')
        for name, radius in (
            ('$r_i$', inscribed_radius(size)),
            ('$r_c$', circumscribed_radius(size)),
        ):
            left.axhline(radius, color='0.8', linewidth=0.8)
            left.text(run.iters[0], radius, name, va='bottom', fontsize=8, color='0.4')
    left.legend(frameon=False, fontsize=8)
    lines: list[list[object]] = [
        [int(i), 'radius', '', float(r)] for i, r in zip(run.iters, run.radius, strict=True)
    ]
    lines += [
        [int(i), 'part selected', '', float(s)] for i, s in zip(run.iters, selected, strict=True)
    ]
    for row, axes in enumerate(panels):
        average = run.ratios[:, :, row].mean(1)  # (T, K)
        for k, name in enumerate(run.normalizers):
            style = dict(color=COLOURS.get(name), linestyle=DASHES[k % len(DASHES)])
            axes.plot(run.iters, average[:, k], label=name, **style)
            lines += [
                [int(i), f'average ratio, {ROWS[row]}', name, float(s)]
                for i, s in zip(run.iters, average[:, k], strict=True)
            ]
        axes.set_title(f'average ratio, {ROWS[row]}s', fontsize=10)
    panels[0].legend(frameon=False, fontsize=8)
    for axes in (left, *panels):
        axes.set(xlabel='iteration', ylim=(-0.02, 1.05))
    head = ['iteration', 'what', 'normalizer', 'value']
    caption = 'A row is the mean or the variance of a layer; it has selected once it is one-hot.'
    return Picture('progress', 'Radius and selection', caption, figure, head, lines)


def plot_trajectory(run: Ratios, layers: Sequence[str] | None = None) -> Picture:
    """Paths of some layers' ratios on the simplex (Fig. 6).

    Args:
        run: The ratios of a training.
        layers: Names of the layers; five, evenly spaced over the network, if None.

    Raises:
        ValueError: The layers do not have three normalizers, or a name is wrong.
    """
    if len(run.normalizers) != 3:
        raise ValueError(
            f'a simplex is drawn of three normalizers, the layers have {", ".join(run.normalizers)}'
        )
    if wrong := [name for name in layers or () if name not in run.layers]:
        raise ValueError(f'no layer {wrong[0]!r}; there are {", ".join(run.layers)}')
    evenly = np.linspace(0, len(run.layers) - 1, 5).round().astype(int).tolist()
    shown = [list(run.layers).index(name) for name in layers] if layers else sorted(set(evenly))
    figure = new_figure(2.5 * len(shown) + 0.8, 5.6)
    grid = figure.subplots(2, len(shown), squeeze=False)
    lines: list[list[object]] = []
    for column, layer in enumerate(shown):
        for row, what in enumerate(ROWS):
            axes, path = grid[row, column], run.ratios[:, layer, row]
            _draw_simplex(axes, run.normalizers)
            x, y = _on_plane(path)
            axes.plot(x, y, color='0.5', linewidth=0.8, zorder=2)
            dots = axes.scatter(x, y, c=run.iters, cmap='viridis_r', s=14, zorder=3)
            axes.plot(x[-1], y[-1], '*', color='black', markersize=11, zorder=4)
            if row == 0:
                axes.set_title(run.layers[layer], fontsize=8)
            if column == 0:
                axes.text(-0.25, 0.4, what, rotation=90, va='center', fontsize=9)
            lines += [
                [run.layers[layer], what, int(i), *map(float, p)]
                for i, p in zip(run.iters, path, strict=True)
            ]
    figure.colorbar(dots, ax=grid, label='iteration', shrink=0.6)
    head = ['layer', 'row', 'iteration', *run.normalizers]
    caption = (
        'Each dot is a record; the star is the end. Dashed: the inscribed circle, which the ratios '
        'leave when the radius reaches r_i.'
    )
    title = 'Paths on the simplex (figure 6)'
    return Picture('trajectory', title, caption, figure, head, lines)


def plot_network(run: Ratios) -> Picture:
    """The network, a line a block: layers coloured by what they selected, mean over variance."""
    blocks: dict[str, list[tuple[str, int]]] = {}
    for index, layer in enumerate(run.layers):
        block = block_of(layer)
        blocks.setdefault(block, []).append((layer.removeprefix(block).strip('.'), index))
    most = max(map(len, blocks.values()))
    figure = new_figure(2.4 + 1.3 * most, 0.8 + 0.5 * len(blocks))
    axes = figure.subplots()
    axes.set_axis_off()
    lines: list[list[object]] = []
    for y, (block, layers) in enumerate(blocks.items()):
        axes.text(-0.1, y + 0.4, block, ha='right', va='center', fontsize=7)
        axes.plot(
            (-0.05, len(layers) - 0.1), (y + 0.4, y + 0.4), color='0.7', linewidth=1, zorder=0
        )
        for x, (name, index) in enumerate(layers):
            for row, what in enumerate(ROWS):
                ratios = run.ratios[-1, index, row]
                best = int(ratios.argmax())
                normalizer, ratio = run.normalizers[best], float(ratios[best])
                _draw_cell(axes, x, y + 0.4 * row, normalizer, ratio)
                lines.append([run.layers[index], block, what, normalizer, ratio])
            axes.text(x, y - 0.03, name, fontsize=6, va='bottom', color='0.35')
    axes.set(xlim=(-0.2, most + 0.1), ylim=(len(blocks), -1.2))
    for k, name in enumerate(run.normalizers):
        _draw_cell(axes, 0.6 * k, -1.1, name, 1.0, width=0.2)
        axes.text(0.6 * k + 0.25, -0.9, name, va='center', fontsize=8)
    head = ['layer', 'block', 'row', 'normalizer', 'ratio']
    caption = (
        'From input to output, top to bottom. In each cell the normalizer with the largest ratio, '
        'above for the mean, below for the variance; pale where others still compete.'
    )
    return Picture('network', 'What the network selected', caption, figure, head, lines)


def ratio_figures(results: Results) -> Iterator[Picture]:
    """The figures of this module that there is data for; of one run, the first SSN's if any."""
    if (averages := plot_average_ratios(results)) is not None:
        yield averages
    first: dict[str, Mapping[str, Any]] = {}
    for row in results.done:
        if row['ratios']:
            first.setdefault(row['label'], row)
    if not first:
        return
    runs = {_run_name(first[name]): unpack(first[name]['ratios']) for name in first}
    yield plot_layers(runs)
    shown = first.get('SSN') or next(iter(first.values()))
    yield from single_figures(runs[_run_name(shown)], _run_name(shown))


def single_figures(run: Ratios, name: str = '') -> Iterator[Picture]:
    """What there is to see of one training, called ``name``, beside its layers' last ratios."""
    pictures = [plot_network(run), plot_progress(run)]
    if len(run.normalizers) == 3:
        pictures.append(plot_trajectory(run))
    for picture in pictures:
        yield replace(picture, caption=f'{picture.caption} Of {name}.') if name else picture


def _run_name(row: Mapping[str, Any]) -> str:
    name = row_name(row['label'], row['variant'])
    return name if row['seed'] is None else f'{name}, seed {row["seed"]}'


def _columns(run: Ratios, normalizers: Sequence[str]) -> np.ndarray:
    """Ratios over the training, (T, L, 2, K), with a column for each of K normalizers."""
    return np.stack(
        [
            run.ratios[..., run.normalizers.index(n)]
            if n in run.normalizers
            else np.zeros(run.ratios.shape[:-1])
            for n in normalizers
        ],
        -1,
    )


def _on_plane(ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of the simplex, (T, 3), on the plane: (1,0,0) left, (0,1,0) right, (0,0,1) above."""
    return ratios[:, 1] + ratios[:, 2] / 2, ratios[:, 2] * np.sqrt(0.75)


def _draw_simplex(axes: Axes, normalizers: Sequence[str]) -> None:
    corners = _on_plane(np.eye(3)[[0, 1, 2, 0]])
    axes.plot(*corners, color='black', linewidth=1)
    angle = np.linspace(0, 2 * np.pi, 100)
    # a distance of sqrt(2) between corners on the simplex is 1 on the plane
    radius = inscribed_radius(3) / np.sqrt(2)
    centre = np.sqrt(0.75) / 3
    axes.plot(
        0.5 + radius * np.cos(angle), centre + radius * np.sin(angle), '--', color='0.7', lw=0.8
    )
    places = ((0.0, -0.12), (1.0, -0.12), (0.5, np.sqrt(0.75) + 0.05))
    for name, (x, y) in zip(normalizers, places, strict=True):
        axes.text(x, y, name, ha='center', color=COLOURS.get(name), fontsize=9, weight='bold')
    axes.set(aspect='equal', xlim=(-0.3, 1.2), ylim=(-0.2, 1.05))
    axes.set_axis_off()


def _draw_cell(
    axes: Axes, x: float, y: float, normalizer: str, ratio: float, width: float = 0.78
) -> None:
    options: dict[str, Any] = dict(color=COLOURS.get(normalizer), alpha=max(0.15, ratio))
    options |= dict(hatch=HATCHES.get(normalizer), edgecolor='white', linewidth=0.6)
    axes.bar(x, 0.38, width, bottom=y, align='edge', **options)
