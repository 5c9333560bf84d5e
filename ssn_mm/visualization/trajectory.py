"""Paths of layers' ratios on the simplex over a training."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection

from ..engine.ratios import Ratios
from ..ops import inscribed_radius
from .picture import COLOURS, ROWS, Picture, new_figure


def plot_trajectory(runs: Mapping[str, Ratios], layers: Sequence[str] | None = None) -> Picture:
    """Paths of some layers' ratios on the simplex, a pair of lines a training (Fig. 6).

    Args:
        runs: The ratios of trainings by name, such as 'SN' and 'SSN'; the layers have the same
            names in all.
        layers: Names of the layers; five, evenly spaced over the network, if None.

    Raises:
        ValueError: The layers do not have three normalizers, or a name is wrong.
    """
    for run in runs.values():
        if len(run.normalizers) != 3:
            raise ValueError(
                'a simplex is drawn of three normalizers, the layers have '
                f'{", ".join(run.normalizers)}'
            )
        if wrong := [name for name in layers or () if name not in run.layers]:
            raise ValueError(f'no layer {wrong[0]!r}; there are {", ".join(run.layers)}')
    there = next(iter(runs.values())).layers
    evenly = np.linspace(0, len(there) - 1, 5).round().astype(int).tolist()
    shown = list(layers) if layers else [there[i] for i in sorted(set(evenly))]
    figure = new_figure(2.5 * len(shown) + 0.8, 4.4 * len(runs) + 0.6)
    grid = figure.subplots(2 * len(runs), len(shown), squeeze=False)
    lines: list[list[object]] = []
    for index, (name, run) in enumerate(runs.items()):
        for column, layer in enumerate(shown):
            for row, what in enumerate(ROWS):
                axes = grid[2 * index + row, column]
                path = run.ratios[:, list(run.layers).index(layer), row]
                dots = _draw_path(axes, run, path)
                if index == row == 0:
                    axes.set_title(layer, fontsize=8)
                if column == 0:
                    told = f'{name}, {what}' if name else what
                    axes.text(-0.25, 0.4, told, rotation=90, va='center', fontsize=9)
                lines += [
                    [name, layer, what, int(i), *map(float, p)]
                    for i, p in zip(run.iters, path, strict=True)
                ]
    figure.colorbar(dots, ax=grid, label='part of the training', shrink=0.6)
    head = ['run', 'layer', 'row', 'iteration', *run.normalizers]
    caption = (
        'Each dot is a record; the star is the end. Dashed: the inscribed circle, which the ratios '
        'of SSN leave when the radius reaches r_i.'
    )
    title = 'Paths on the simplex (figure 6)'
    return Picture('trajectory', title, caption, figure, head, lines)


def _draw_path(axes: Axes, run: Ratios, path: np.ndarray) -> PathCollection:
    """Draws the ratios (T, 3) of a row over the training; returns the dots."""
    _draw_simplex(axes, run.normalizers)
    x, y = _on_plane(path)
    axes.plot(x, y, color='0.5', linewidth=0.8, zorder=2)
    done = run.iters / run.iters[-1]
    dots = axes.scatter(x, y, c=done, cmap='viridis_r', vmin=0, vmax=1, s=14, zorder=3)
    axes.plot(x[-1], y[-1], '*', color='black', markersize=11, zorder=4)
    return dots


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
