"""Figures of ratios: how layers select, over the training and layer by layer."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..engine.ratios import Ratios
from ..layers import block_of
from ..ops import circumscribed_radius, inscribed_radius
from ..suites.agreement import agreements
from ..suites.results import Results
from ..suites.suite import row_name
from ..suites.training import unpack
from .picture import COLOURS, DASHES, HATCHES, ROWS, Picture, new_figure, stack
from .trajectory import plot_trajectory

MARKS = {'after a 3x3 convolution': '■', 'in a shortcut': '▲'}  # kinds of layers, in figure 5


def kind_of(layer: str, layers: Sequence[str]) -> str:
    """What OpenMMLab's name of a ResNet's layer tells of its place, a key of ``MARKS``, or ''.

    Args:
        layer: Its name, such as 'backbone.layer1.0.bn2'.
        layers: The names of all; a block that has a third layer is a bottleneck.
    """
    if '.downsample.' in layer:
        return 'in a shortcut'
    if own := re.fullmatch(r'(.*layer\d+\.\d+\.)(bn|conv)([12])(\.bn)?', layer):
        block, word, number, end = own.groups()
        if number == '2' or f'{block}{word}3{end or ""}' not in layers:
            return 'after a 3x3 convolution'
    return ''


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


def plot_agreement(results: Results) -> Picture | None:
    """How often seeds select the same normalizer, layer by layer, beside chance.

    Each label and variant has a pair of panels; pairs lie in a grid that is about as wide as high.
    """
    found = agreements(results)
    if not found:
        return None
    cases, height = len(found) // 2, 3.0  # inches of a pair
    width = max(4.0, 0.2 * max(len(layers) for layers, _ in found.values()) + 0.5)
    columns = max(1, round(math.sqrt(cases * height / width)))
    deep = math.ceil(cases / columns)
    figure = new_figure(max(8.0, columns * width + 1.5), 1.6 + height * deep)
    grid = figure.subplots(2 * deep, columns, squeeze=False)
    lines: list[list[object]] = []
    for index, ((label, variant, row), (layers, own)) in enumerate(found.items()):
        case = index // 2
        axes = grid[2 * (case // columns) + row, case % columns]
        axes.bar(range(len(layers)), own.layers, color='0.5')
        axes.axhline(own.layers.mean(), color='black', linewidth=1, label='average')
        axes.axhline(own.chance, color='#D55E00', linestyle='--', linewidth=1, label='by chance')
        axes.set(ylim=(0, 1.05), ylabel=f'{ROWS[row]}s', xticks=[])
        if row == 0:
            axes.set_title(row_name(label, variant))
        elif case + columns >= cases:  # there is none below
            axes.set_xticks(range(len(layers)), layers, rotation=90)
        lines += [
            [label, variant, ROWS[row], layer, float(share), own.chance]
            for layer, share in zip(layers, own.layers, strict=True)
        ]
    for axes in grid.flat:
        if not axes.has_data():
            axes.remove()
    handles = grid[0, 0].get_legend_handles_labels()
    figure.legend(*handles, loc='outside right upper', frameon=False)
    head = ['label', results.variant or 'variant', 'row', 'layer', 'agreeing', 'by chance']
    caption = (
        'Share of the pairs of seeds that select the same normalizer at a layer; by chance: each '
        'training has its selections dealt out to the layers anew.'
    )
    title = 'Agreement of selections over seeds'
    return Picture('agreement', title, caption, figure, head, lines)


def plot_layers(runs: Mapping[str, Ratios]) -> Picture:
    """The last ratios of every layer, a pair of lines a run (Fig. 5).

    Args:
        runs: By name, such as 'SN' and 'SSN'; their layers have the same names.
    """
    layers = next(iter(runs.values())).layers
    figure = new_figure(max(8.0, 0.2 * len(layers) + 1.5), 2.2 + 2.0 * len(runs))
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
                [name, layer, kind_of(layer, layers), what, normalizer, float(p)]
                for layer, own in zip(run.layers, last, strict=True)
                for normalizer, p in zip(run.normalizers, own, strict=True)
            ]
    told = [f'{layer} {MARKS.get(kind_of(layer, layers), "")}' for layer in layers]
    panels[-1].set_xticks(range(len(layers)), told, rotation=90)
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside right upper', frameon=False)
    head = ['run', 'layer', 'kind', 'row', 'normalizer', 'ratio']
    caption = (
        'Ratios at the end of training, layer by layer; '
        f'{", ".join(f"{mark}: {kind}" for kind, mark in MARKS.items())}.'
    )
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
    """The figures of this module that there is data for; figures of one run show the first SSN."""
    if (averages := plot_average_ratios(results)) is not None:
        yield averages
    if (picture := plot_agreement(results)) is not None:
        yield picture
    first: dict[str, Mapping[str, Any]] = {}
    for row in results.done:
        if row['ratios']:
            first.setdefault(row['label'], row)
    if not first:
        return
    runs = {_run_name(first[name]): unpack(first[name]['ratios']) for name in first}
    yield plot_layers(runs)
    shown = first.get('SSN') or next(iter(first.values()))
    name = _run_name(shown)
    for picture in (plot_network(runs[name]), plot_progress(runs[name])):
        yield replace(picture, caption=f'{picture.caption} Of {name}.')
    beside = [_run_name(first['SN'])] if 'SN' in first and shown is not first['SN'] else []
    paths = {own: runs[own] for own in (*beside, name)}
    if all(len(run.normalizers) == 3 for run in paths.values()):
        yield plot_trajectory(paths)


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


def _draw_cell(
    axes: Axes, x: float, y: float, normalizer: str, ratio: float, width: float = 0.78
) -> None:
    options: dict[str, Any] = dict(color=COLOURS.get(normalizer), alpha=max(0.15, ratio))
    options |= dict(hatch=HATCHES.get(normalizer), edgecolor='white', linewidth=0.6)
    axes.bar(x, 0.38, width, bottom=y, align='edge', **options)
