"""A suite: the grid of trainings behind a table or figure, read from a short file.

.. code:: python

    title = 'Table 1 in small: normalizers on the digit world'
    configs = dict(BN='../demo/resnet_bn_digits.py', SSN='../demo/resnet_ssn_digits.py')
    variants = {'8 images': {'train_dataloader.batch_size': 8}}  # optional overrides, by name
    options = {'train_cfg.max_epochs': 20}                       # optional overrides of all
    seeds = [0, 1, 2]
    metric = 'accuracy/top1'                                     # of the last validation
    paper = dict(BN=76.4, SSN=77.2)                              # optional; shown as the paper's
"""

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

NEEDED = ('title', 'configs', 'seeds', 'metric')
OPTIONAL = ('variants', 'options', 'paper')


@dataclass(frozen=True)
class Run:
    """One training of a suite.

    Attributes:
        label: The config's name in the suite.
        variant: The overrides' name; '' where the suite has none.
        seed: For ``randomness.seed``.
        config: File.
        options: All overrides, the seed's included.
    """

    label: str
    variant: str
    seed: int
    config: Path
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Of its folder."""
        words = [self.label, self.variant, f'seed{self.seed}']
        return '-'.join(re.sub(r'[^A-Za-z0-9]+', '_', word).strip('_') for word in words if word)


@dataclass(frozen=True)
class Suite:
    """What a suite file says; see the module.

    Attributes:
        name: The file's stem.
        title: For people.
        metric: Key of a validation's scalars.
        runs: The whole grid.
        paper: The paper's results by label, or by 'label, variant'.
    """

    name: str
    title: str
    metric: str
    runs: Sequence[Run]
    paper: Mapping[str, float] = field(default_factory=dict)


def read_suite(path: str | Path) -> Suite:
    """Reads a suite from a Python, YAML or JSON file.

    Raises:
        FileNotFoundError: There is no such file, or a config that it names.
        ValueError: Something is missing, unknown or of the wrong kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no suite {str(path)!r}; see configs/suites/ for those that ship')
    stated = Config.fromfile(path).to_dict()
    if missing := [key for key in NEEDED if key not in stated]:
        raise ValueError(f'{path} says no {", ".join(missing)}; a suite needs {", ".join(NEEDED)}')
    if unknown := stated.keys() - {*NEEDED, *OPTIONAL}:
        raise ValueError(
            f'{path} says {", ".join(sorted(unknown))}, which no suite has; it may say '
            f'{", ".join((*NEEDED, *OPTIONAL))}'
        )
    for key, kind in dict(configs=dict, seeds=list, variants=dict, options=dict).items():
        if key in stated and not (isinstance(stated[key], kind) and stated[key]):
            raise ValueError(
                f'{path}: {key} must be a {kind.__name__} with content, got {stated[key]!r}'
            )
    configs = {label: (path.parent / file).resolve() for label, file in stated['configs'].items()}
    if gone := [str(file) for file in configs.values() if not file.is_file()]:
        raise FileNotFoundError(f'{path} names configs that are not there: {", ".join(gone)}')
    runs = list(_grid(stated, configs))
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f'{path}: several runs would be called {", ".join(twice)}; rename labels')
    paper = stated.get('paper', {})
    return Suite(path.stem, stated['title'], stated['metric'], runs, paper)


def _grid(stated: dict[str, Any], configs: Mapping[str, Path]) -> Iterator[Run]:
    variants = stated.get('variants') or {'': {}}
    everywhere = stated.get('options') or {}
    for (label, file), (variant, own), seed in itertools.product(
        configs.items(), variants.items(), stated['seeds']
    ):
        options = {**everywhere, **own, 'randomness.seed': seed}
        yield Run(label, variant, int(seed), file, options)


def fingerprint(run: Run) -> dict[str, str]:
    """What a result depends on besides its data: the package's code, the config, PyTorch."""
    code = hashlib.sha256()
    package = Path(__file__).parents[1]
    for file in sorted(package.rglob('*.py')):
        code.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    cfg = Config.fromfile(run.config)
    cfg.merge_from_dict(dict(run.options))
    cfg.pop('work_dir', None)
    text = repr(sorted(cfg.to_dict().items(), key=lambda item: item[0]))
    return dict(
        code=code.hexdigest()[:12],
        config=hashlib.sha256(text.encode()).hexdigest()[:12],
        torch=torch.__version__,
    )


def data_fingerprint(run: Run) -> str:
    """Of the names and sizes of all files below the data roots of a config; '' without any."""
    cfg = Config.fromfile(run.config)
    cfg.merge_from_dict(dict(run.options))
    roots = sorted(set(_data_roots([cfg.get('train_dataloader'), cfg.get('val_dataloader')])))
    found = hashlib.sha256()
    count = 0
    for root in roots:
        for file in sorted(Path(root).rglob('*')):
            if file.is_file():
                count += 1
                name = file.relative_to(root).as_posix()
                found.update(f'{name} {file.stat().st_size}\n'.encode())
    return found.hexdigest()[:12] if count else ''


def _data_roots(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        if isinstance(node.get('data_root'), str):
            yield node['data_root']
        node = list(node.values())
    if isinstance(node, list | tuple):
        for item in node:
            yield from _data_roots(item)
