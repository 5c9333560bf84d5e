"""Reads and draws how the layers of a training chose their normalizers."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# Okabe and Ito's colour-blind safe colours
COLOURS = {'IN': '#D55E00', 'LN': '#009E73', 'BN': '#0072B2', 'GN': '#CC79A7'}
ROWS = ('mean', 'variance')


@dataclass(frozen=True)
class Ratios:
    """What ``SSNRadiusHook`` wrote: T records of L layers.

    Attributes:
        layers: L names.
        normalizers: Every normalizer that any layer has, in order of appearance.
        iters: (T,) iterations done.
        radius: (T,) Euclidean distance on the simplex plane.
        ratios: (T, L, 2, K), 0 where a layer lacks a normalizer.
    """

    layers: list[str]
    normalizers: list[str]
    iters: np.ndarray
    radius: np.ndarray
    ratios: np.ndarray


def read_ratios(path: str | Path) -> Ratios:
    """Reads a work dir's ``ssn_ratios.jsonl``; a line cut short by a crash ends it.

    Args:
        path: The file, or the work dir.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not such a file, or has no record yet.
    """
    path = Path(path)
    path = path / 'ssn_ratios.jsonl' if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f'no ratios at {path}; SSNRadiusHook writes them to the work dir')
    header, *records = _lines(path)
    if 'layers' not in header or not records:
        raise ValueError(f'{path} has no record of ratios yet')
    names = list(dict.fromkeys(name for layer in header['normalizers'] for name in layer))
    ratios = np.zeros((len(records), len(header['layers']), 2, len(names)))
    for index, own in enumerate(header['normalizers']):
        columns = [names.index(name) for name in own]
        ratios[:, index, :, columns] = np.moveaxis(
            np.array([record['ratios'][index] for record in records]), -1, 0
        )
    return Ratios(
        header['layers'],
        names,
        np.array([record['iter'] for record in records]),
        np.array([record['radius'] for record in records]),
        ratios,
    )


def plot_ratios(run: Ratios, out: str | Path) -> Path:
    """Draws the shares over the training, and the last ratios layer by layer (Fig. 5).

    Args:
        run: From :func:`read_ratios`.
        out: Picture to write, .png, .pdf or .svg.

    Returns:
        ``out`` as a Path.
    """
    from matplotlib.figure import Figure  # no global state, no display

    width = max(8.0, 0.22 * len(run.layers))
    figure = Figure(figsize=(width, 8), layout='constrained')
    grid = figure.add_gridspec(3, 2, height_ratios=(3, 2, 2))
    for row, what in enumerate(ROWS):
        axes = figure.add_subplot(grid[0, row])
        share = run.ratios[:, :, row].mean(1)  # (T, K)
        for k, name in enumerate(run.normalizers):
            axes.plot(run.iters, share[:, k], color=COLOURS.get(name), label=name)
        axes.plot(run.iters, run.radius, color='0.5', linestyle=':', label='radius')
        axes.set(title=f'average ratio, {what}', xlabel='iteration', ylim=(-0.02, 1.02))
        if row == 0:
            axes.legend(loc='upper left', frameon=False)

        axes = figure.add_subplot(grid[1 + row, :])
        last, bottom = run.ratios[-1, :, row], np.zeros(len(run.layers))
        for k, name in enumerate(run.normalizers):
            axes.bar(range(len(run.layers)), last[:, k], bottom=bottom, color=COLOURS.get(name))
            bottom += last[:, k]
        axes.set(ylabel=what, ylim=(0, 1), xlim=(-0.6, len(run.layers) - 0.4), xticks=[])
        if row == 0:
            axes.set_title(f'ratios of each layer after iteration {run.iters[-1]}')
    axes.set_xticks(range(len(run.layers)), run.layers, rotation=90, fontsize=6)
    out = Path(out)
    figure.savefig(out, dpi=150)
    return out


def _lines(path: Path) -> list[dict]:
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    if not found or not isinstance(found[0], dict):
        raise ValueError(f'{path} is not a file that SSNRadiusHook wrote')
    return found
