"""The figure of what each layer selected, over all seeds: where SSN keeps a norm and lets it go."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ops.normalizers import NORMALIZERS
from ..suites.results import Results
from ..suites.training import unpack
from .picture import Picture, new_figure, stack


def plot_layer_shares(results: Results) -> Picture | None:
    """Share of each normalizer in each layer at the end, over the seeds and both rows of ratios.

    A panel for each label, one below the other, and variant, side by side. None where no network
    with ratios was trained with two seeds.
    """
    labels = [label for label in results.labels() if _rows(results, label)]
    variants = results.variants()
    most = max((len(results.of(name, v)) for name in labels for v in variants), default=0)
    if most < 2:
        return None
    figure = new_figure(1.5 + 4.2 * len(variants), 0.9 + 1.3 * len(labels))
    grid = figure.subplots(len(labels), len(variants), squeeze=False)
    lines: list[list[object]] = []
    for panels, label in zip(grid, labels, strict=True):
        panels[0].set_ylabel(label)
        for axes, variant in zip(panels, variants, strict=True):
            own = [row for row in results.of(label, variant) if row['ratios']]
            axes.set(xticks=[], ylim=(0, 1))
            if not own:
                continue
            layers, shares = _shares(own)
            stack(axes, NORMALIZERS, shares.tolist())
            lines += [
                [label, variant, layer, name, float(share)]
                for layer, bar in zip(layers, shares, strict=True)
                for name, share in zip(NORMALIZERS, bar, strict=True)
                if share
            ]
    for axes, variant in zip(grid[0], variants, strict=True):
        axes.set_title(f'{results.variant} {variant}'.strip())
    for axes in grid[-1]:
        axes.set_xlabel('layers, from input to output')
    _draw_legend(figure, {name for *_, name, _ in lines})
    head = ['label', results.variant or 'variant', 'layer', 'normalizer', 'share']
    caption = 'Mean of the last ratios over the seeds, and over mean and variance, layer by layer.'
    return Picture('layer_shares', 'What each layer selected', caption, figure, head, lines)


def _rows(results: Results, label: str) -> list[Any]:
    return [row for row in results.done if row['label'] == label and row['ratios']]


def _shares(rows: Sequence[Mapping[str, Any]]) -> tuple[Sequence[str], np.ndarray]:
    """Layers of runs of one network, and their mean ratios in the order of NORMALIZERS, (L, K)."""
    runs = [unpack(row['ratios']) for row in rows]
    last = np.mean([run.ratios[-1].mean(1) for run in runs], 0)  # (L, normalizers of the network)
    shares = np.zeros((len(runs[0].layers), len(NORMALIZERS)))
    shares[:, [NORMALIZERS.index(name) for name in runs[0].normalizers]] = last
    return runs[0].layers, shares


def _draw_legend(figure: Any, there: set[Any]) -> None:
    """A legend of those normalizers that have a share."""
    handles, names = next(
        found for axes in figure.axes if (found := axes.get_legend_handles_labels())[0]
    )
    kept = [(h, name) for h, name in zip(handles, names, strict=True) if name in there]
    figure.legend(*zip(*kept, strict=True), loc='outside right upper', frameon=False)
