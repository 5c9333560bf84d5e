"""Photographs of solar cells, sound and broken, as a dataset for mmpretrain.

They are the 2,624 grey pictures of 300x300 pixels of the package ``elpv-dataset`` (Deitsch et al.,
Solar Energy 185, 2019), cells of 44 modules under current, each graded by an expert. Their license,
CC BY-NC-SA 4.0, allows no commercial use, so nobody gets them but who installs them.
"""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmpretrain.datasets import BaseDataset

from ..commands import pip_install
from .missing import DatasetMissingError

SPLITS = 5
SUBSETS = ('train', 'test', 'tune')
GRADES = (0.0, 1 / 3, 2 / 3, 1.0)  # how probable a defect is; above a half is defective
KINDS = ('mono', 'poly')  # crystalline
LABELS, PACKAGE = 'labels.csv', 'elpv_dataset'


class SolarCells(BaseDataset):
    """Cells that are functional (grades 0 and 1/3) or defective (2/3 and 1), in five splits.

    The two classes are those of the grades' authors, who asked the expert whether a cell is
    functional, and then whether that is sure. Every cell is in one of six parts, which have the
    same share of each grade of each kind of module. The sixth is for tuning, and in no split. Split
    n tests on the n-th of the other five and trains on the remaining four. Parts follow from the
    names of the files alone.

    Args:
        subset: 'train'; 'test'; or 'tune', which is the same for all splits.
        split: Which of the splits, 0 to 4.
        data_root: The folder with ``labels.csv`` and the pictures that it names; '' is that of the
            installed package.
        **kwargs: Further arguments of mmpretrain's ``BaseDataset``, such as ``pipeline``.

    Raises:
        DatasetMissingError: The package is not installed, or the folder has no ``labels.csv``.
        ValueError: ``subset`` or ``split`` is none of these, or a line of ``labels.csv`` is not
            understood.
    """

    METAINFO = {'classes': ('functional', 'defective')}  # noqa: RUF012, mmengine's own form

    def __init__(
        self, subset: str = 'train', split: int = 0, data_root: str = '', **kwargs: Any
    ) -> None:
        if subset not in SUBSETS:
            raise ValueError(f'subset must be one of {", ".join(SUBSETS)}, got {subset!r}')
        if split not in range(SPLITS):
            raise ValueError(f'split must be one of 0 to {SPLITS - 1}, got {split!r}')
        self.subset, self.split = subset, split
        super().__init__(ann_file=LABELS, data_root=str(find_cells(data_root)), **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """The cells of the subset, in the order of ``labels.csv``."""
        cells = read_labels(Path(self.ann_file))
        own = {
            'train': set(range(SPLITS)) - {self.split},
            'test': {self.split},
            'tune': {SPLITS},
        }[self.subset]
        return [
            dict(img_path=str(Path(self.data_root) / name), gt_label=int(grade > 0.5))
            for (name, grade, _), part in zip(cells, parts_of(cells), strict=True)
            if part in own
        ]


def find_cells(data_root: str = '') -> Path:
    """The folder of the pictures: ``data_root``, or that of the installed package.

    Raises:
        DatasetMissingError: It is not there; says what to install.
    """
    spec = find_spec(PACKAGE) if not data_root else None
    places = spec.submodule_search_locations if spec else None
    root = Path(data_root) if data_root else Path(places[0]) / 'data' if places else None
    if root is None or not (root / LABELS).is_file():
        raise DatasetMissingError(
            f'The photographs of solar cells are not there: {root or PACKAGE} has no {LABELS}. '
            'Install them (90 MB; CC BY-NC-SA 4.0, so for no commercial use):\n'
            f'    {pip_install("ssn-mm[solar]")}'
        )
    return root


def read_labels(file: Path) -> list[tuple[str, float, str]]:
    """The name, the grade and the kind of every cell.

    Raises:
        ValueError: A line does not hold these three, or a name stands twice.
    """
    found: dict[str, tuple[str, float, str]] = {}
    for number, line in enumerate(file.read_text(encoding='utf-8').splitlines(), 1):
        if not line.strip():
            continue
        name, stated, kind = (*line.split(), '', '', '')[:3]
        grade = next((own for own in GRADES if stated and f'{own:.4f}' == _rounded(stated)), None)
        if len(line.split()) != 3 or grade is None or kind not in KINDS or name in found:
            raise ValueError(
                f'{file}, line {number} is {line!r}, expected the name of a file that no other '
                f'line has, a grade (0, 1/3, 2/3 or 1, as a decimal number) and '
                f'{" or ".join(KINDS)}; restore the file'
            )
        found[name] = (name, grade, kind)
    return list(found.values())


def parts_of(cells: list[tuple[str, float, str]]) -> list[int]:
    """Deals cells into the parts of :class:`SolarCells`, 0 to 5, each kind and grade evenly."""
    shuffled = {name: hashlib.sha256(Path(name).name.encode()).digest() for name, _, _ in cells}
    order = sorted(range(len(cells)), key=lambda i: (*cells[i][1:], shuffled[cells[i][0]]))
    parts = [0] * len(cells)
    for place, i in enumerate(order):
        parts[i] = place % (SPLITS + 1)
    return parts


def _rounded(stated: str) -> str:
    try:
        return f'{float(stated):.4f}'
    except ValueError:
        return ''
