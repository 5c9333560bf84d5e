"""A figure with the data it shows, and how all figures look: colour-blind safe, also in print."""

import base64
import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure  # no global state, no display
from PIL import Image, PngImagePlugin

from ..files import write_atomically
from ..ops.normalizers import NORMALIZERS

# Okabe and Ito's colour-blind safe colours, and an indigo of Tol's; hatches and line styles tell
# them apart without colour
_OWN = ('#D55E00', '#009E73', '#0072B2', '#CC79A7', '#332288')
COLOURS = dict(zip(NORMALIZERS, _OWN, strict=True))
HATCHES = dict(zip(NORMALIZERS, ('//', '..', '', 'xx', '--'), strict=True))
LABELS = {**COLOURS, 'SN': '#E69F00', 'SSN': '#000000'}
# of labels that have none of their own, by their place: as many as there are other contestants
OTHERS = (
    *('#56B4E9', '#8C6D31', '#7F7F7F', '#F0E442', '#AA4499', '#117733', '#88CCEE', '#882255'),
    *('#999933', '#44AA99', '#661100'),
)
DASHES = ('-', '--', '-.', ':', (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))
MARKERS = 'os^vDP*X'
ROWS = ('mean', 'variance')  # of a layer's ratios


@dataclass(frozen=True)
class Picture:
    """A figure and its data.

    Attributes:
        name: The stem of its files' names.
        title: What people call it.
        caption: What it shows, of which runs.
        figure: matplotlib's figure.
        head: Names of the data's columns.
        lines: The data's lines.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    head: Sequence[str]
    lines: Sequence[Sequence[object]]

    def __post_init__(self) -> None:
        for axes in self.figure.axes:
            axes.tick_params(which='both', labelsize=8)
            axes.title.set_fontsize(9)
            axes.xaxis.label.set_fontsize(9)
            axes.yaxis.label.set_fontsize(9)

    def png(self) -> bytes:
        """The figure at 150 dpi, in 256 colours, which takes a quarter of the space.

        Its text ``data`` is :attr:`digest`, so that it can be told of which data a file is.
        """
        full, small = io.BytesIO(), io.BytesIO()
        self.figure.savefig(full, format='png', dpi=150)
        info = PngImagePlugin.PngInfo()
        info.add_text('data', self.digest)
        image = Image.open(full).convert('RGB').quantize(256)
        image.save(small, 'png', optimize=True, pnginfo=info)
        return small.getvalue()

    @property
    def digest(self) -> str:
        """A hash of the data."""
        return hashlib.sha256(self.csv().encode()).hexdigest()[:12]

    def csv(self) -> str:
        """The data, numbers with 5 digits."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator='\n')
        writer.writerow(self.head)
        for line in self.lines:
            writer.writerow(f'{v:.5g}' if isinstance(v, float) else v for v in line)
        return buffer.getvalue()

    def write(self, folder: Path) -> list[Path]:
        """Writes NAME.png and NAME.csv."""
        files = [folder / f'{self.name}.png', folder / f'{self.name}.csv']
        for file, content in zip(files, (self.png(), self.csv().encode()), strict=True):
            write_atomically(file, content)
        return files

    def data_uri(self, kind: str) -> str:
        """The figure ('png') or its data ('csv') as an address that holds its content."""
        content, mime = (
            (self.png(), 'image/png') if kind == 'png' else (self.csv().encode(), 'text/csv')
        )
        return f'data:{mime};base64,{base64.b64encode(content).decode()}'


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    return Figure(figsize=(width, height), layout='constrained')


def line_style(label: str, index: int) -> dict[str, object]:
    """Colour, dashes and marker of a label's curve."""
    fallback = OTHERS[index % len(OTHERS)]
    return dict(
        color=LABELS.get(label, fallback),
        linestyle=DASHES[index % len(DASHES)],
        marker=MARKERS[index % len(MARKERS)],
        markersize=4,
    )


def stack(axes: Axes, normalizers: Sequence[str], ratios: Sequence[Sequence[float]]) -> None:
    """Draws stacked bars, one for each of ``ratios``, (bars, K), which sum to 1 over K."""
    bottom = [0.0] * len(ratios)
    for k, name in enumerate(normalizers):
        own = [bar[k] for bar in ratios]
        axes.bar(
            range(len(ratios)),
            own,
            bottom=bottom,
            color=COLOURS.get(name),
            hatch=HATCHES.get(name),
            edgecolor='white',
            linewidth=0.4,
            label=name,
        )
        bottom = [low + high for low, high in zip(bottom, own, strict=True)]
    axes.set(ylim=(0, 1), xlim=(-0.6, len(ratios) - 0.4), xticks=[])
