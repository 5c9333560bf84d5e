"""A suite: the grid of trainings behind a table or figure of the paper, read from a short file.

.. code:: python

    title = 'Normalizers by batch size'
    configs = dict(BN='../demo/resnet_bn_digits.py', SSN='../demo/resnet_ssn_digits.py')
    seeds = [0, 1, 2]
    metrics = ['accuracy/top1']  # of the last validation; the first is the main one
    # all below may be left out
    rule = 'greater'  # which main metric is better; 'less' for a loss or an error
    variants = {'32': {}, '8': {'train_dataloader.batch_size': 8}}  # overrides, by name
    variant = 'images a batch'  # what these names are
    options = {'train_cfg.max_epochs': 5}  # overrides of every run
    splits = ['train_dataloader.dataset.split']  # overrides whose value is the seed: each tests on
    #   one part of the data and trains on those of all others, as tables of differences know
    recipes = {'32': 'recipes/32.json', '8': 'recipes/8.json'}  # of each norm, by variant, or FILE
    norms = ['GN+WS', 'DyT']  # contestants beside the configs, or 'all'
    norm_base = 'BN'  # the label whose config they inherit
    norm_options = dict(num_groups=8)  # for those contestants that have such options
    after = dict(SSN='BN')  # SSN starts from the last checkpoint of BN's run
    test = ['--tta']  # metrics are tools/test.py's with these arguments, not the validation's
    paper = {'BN, 32': 76.4}  # shown beside, as the paper's; else that of configs/results.yml
    twin = 'table2_imagenet.py'  # shows this suite's numbers of the paper
    longer = 'table2_longer_digits'  # the suite of the same trainings, twice as long: convergence
    stretch = 2  # all trainings are so many times as long, see :mod:`.stretch`
    reference = 'BN'  # the label that all others are compared with; else SSN, or the first

A file name of ``configs`` may hold ``{variant}``; ``dict(config=FILE, options=OVERRIDES)`` in its
place has overrides of its own, and ``recipe=LABEL`` there takes the recipe of another label, see
:mod:`.recipes`. Later overrides win: the suite's, the variant's, the recipe's, the config's own.
Paths start at the suite's folder.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config_files import read_config
from .metafiles import read_config_results
from .norms import chosen_norms, norm_overrides
from .recipes import read_recipes
from .stretch import stretched

KINDS: dict[str, Any] = dict(
    title=str, configs=dict, seeds=list, metrics=list, variants=dict, variant=str, options=dict
)
KINDS |= dict(rule=str, after=dict, test=list, paper=dict, twin=str, longer=str, splits=list)
KINDS |= dict(reference=str, stretch=int)
KINDS |= dict(norms=(list, str), norm_base=str, norm_options=dict, recipes=(dict, str))
CONFIG_KEYS = {'config', 'options', 'recipe'}
NEEDED = ('title', 'configs', 'seeds', 'metrics')
RULES = ('greater', 'less')  # as mmengine's CheckpointHook calls them


@dataclass(frozen=True)
class Run:
    """One training of a suite.

    Attributes:
        label: The config's name in the suite.
        variant: Name of the overrides; '' where the suite has none.
        seed: The value of ``randomness.seed``.
        config: The config file.
        options: All overrides, the seed's included.
        after: Name of the run whose last checkpoint it starts from, if any.
        norm: Name of the contestant whose norm the overrides put into the config, if any.
    """

    label: str
    variant: str
    seed: int
    config: Path
    options: Mapping[str, Any]
    after: str | None = None
    norm: str = ''

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return run_name(self.label, self.variant, self.seed)


@dataclass(frozen=True)
class Suite:
    """What a suite file says, see this module's description.

    Attributes:
        name: The file's stem.
        title: What people call the suite.
        variant: What the variants are, such as 'images a batch'.
        metrics: Keys of a validation's scalars; the first is the main one.
        runs: The whole grid, the first seed of everything first.
        paper: The paper's value per metric, by :func:`row_name`.
        test: Arguments of tools/test.py; None takes the last validation.
        rule: Which of two values of the main metric is better, 'greater' or 'less'.
        variants: Overrides by the name of the variant; empty where the suite has none.
        longer: Name of the suite that has the same trainings, twice as long; '' if there is none.
        splits: In how many parts seeds split the data; 0 if all seeds have the same.
        reference: The label that all others are compared with; '' leaves it to
            :func:`.significance.reference`.
    """

    name: str
    title: str
    variant: str
    metrics: Sequence[str]
    runs: Sequence[Run]
    paper: Mapping[str, Sequence[float]] = field(default_factory=dict)
    test: Sequence[str] | None = None
    rule: str = 'greater'
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    longer: str = ''
    splits: int = 0
    reference: str = ''


def run_name(label: str, variant: str, seed: int) -> str:
    """The name of a run's folder: letters, digits, underscores, hyphens between the parts."""
    words = [label, variant, f'seed{seed}']
    return '-'.join(re.sub(r'[^A-Za-z0-9]+', '_', word).strip('_') for word in words if word)


def row_name(label: str, variant: str) -> str:
    """Name of a table's row: 'SSN, 32'."""
    return f'{label}, {variant}' if variant else label


def read_suite(path: str | Path, norms: Sequence[str] | None = None) -> Suite:
    """Reads a suite from a Python, YAML or JSON file.

    Args:
        path: The file.
        norms: The labels and contestants that the grid has in the place of those of the file, see
            :func:`.norms.chosen_norms`.

    Raises:
        FileNotFoundError: There is no such file, or a config that it names.
        ValueError: Something is missing, unknown or of the wrong kind.
    """
    path = Path(path)
    stated = _read(path)
    stated['configs'] = chosen_norms(stated, norms)
    if norms is None and (wanted := stated.get('reference')) not in (None, *stated['configs']):
        raise ValueError(
            f'{path}: reference must be one of {", ".join(stated["configs"])}, got {wanted!r}'
        )
    if norms is not None and 'after' in stated:
        labels = stated['configs']
        stated['after'] = {k: v for k, v in stated['after'].items() if {k, v} <= labels.keys()}
    runs = list(_grid(stated, path.parent))
    if gone := sorted({str(run.config) for run in runs if not run.config.is_file()}):
        raise FileNotFoundError(f'{path} names configs that are not there: {", ".join(gone)}')
    names = [run.name.casefold() for run in runs]  # not every system tells cases apart
    if len(set(names)) < len(names):
        twice = sorted({run.name for run in runs if names.count(run.name.casefold()) > 1})
        raise ValueError(f'{path}: several runs would be called {", ".join(twice)}; rename labels')
    for label, first in stated.get('after', {}).items():
        if {label, first} - set(stated['configs']) or first in stated['after']:
            raise ValueError(
                f'{path}: after={{{label!r}: {first!r}}}; both must be labels of configs '
                f'({", ".join(stated["configs"])}), and {first!r} must come after nothing itself'
            )
    longer = stated.get('longer', '')
    return Suite(
        path.stem,
        stated['title'],
        stated.get('variant', ''),
        stated['metrics'],
        runs,
        _paper(stated, path, runs),
        stated.get('test'),
        stated.get('rule', 'greater'),
        {str(name): own for name, own in stated.get('variants', {}).items()},
        '' if longer == path.stem else longer,  # which it has inherited
        len(stated['seeds']) if 'splits' in stated else 0,
        stated.get('reference', ''),
    )


def _read(path: Path) -> dict[str, Any]:
    stated = read_config(path, kind='suite', folder='configs/suites/').to_dict()
    if missing := [key for key in NEEDED if key not in stated]:
        raise ValueError(f'{path} says no {", ".join(missing)}; a suite needs {", ".join(NEEDED)}')
    if unknown := sorted(stated.keys() - KINDS.keys()):
        raise ValueError(
            f'{path} says {", ".join(unknown)}, which no suite has; it may say {", ".join(KINDS)}'
        )
    for key, value in stated.items():
        empty = key not in ('test', 'paper', 'stretch') and not value
        if not isinstance(value, KINDS[key]) or empty:
            kinds = KINDS[key] if isinstance(KINDS[key], tuple) else (KINDS[key],)
            words = ' or '.join(kind.__name__ for kind in kinds)
            raise ValueError(f'{path}: {key} must be a {words}, got {value!r}')
    for label, own in stated['configs'].items():
        if not isinstance(own, str) and not (
            isinstance(own, dict) and 'config' in own and own.keys() <= CONFIG_KEYS
        ):
            raise ValueError(
                f'{path}: configs[{label!r}] must be a file, or dict(config=FILE, options=..., '
                f'recipe=LABEL), got {own!r}'
            )
    if stated.get('rule', 'greater') not in RULES:
        raise ValueError(
            f'{path}: rule must be {" or ".join(map(repr, RULES))}, whichever value of '
            f'{stated["metrics"][0]} is better, got {stated["rule"]!r}'
        )
    if type(times := stated.get('stretch', 1)) is not int or times < 1:
        raise ValueError(f'{path}: stretch must be a whole number of times, got {times!r}')
    if wrong := [seed for seed in stated['seeds'] if type(seed) is not int]:
        raise ValueError(f'{path}: seeds must be whole numbers, got {wrong}')
    return stated


def _grid(stated: Mapping[str, Any], folder: Path) -> Iterator[Run]:
    variants = stated.get('variants') or {'': {}}
    recipes = _recipes(stated, folder, variants)
    known: dict[tuple[str, str], dict[str, Any]] = {}  # overrides that follow from the config
    for seed, (variant, own), (label, stated_config) in itertools.product(
        stated['seeds'], variants.items(), stated['configs'].items()
    ):
        about = stated_config if isinstance(stated_config, dict) else dict(config=stated_config)
        config = (folder / about['config'].replace('{variant}', str(variant))).resolve()
        recipe = recipes(variant, about.get('recipe', label))
        if both := sorted(own.keys() & recipe.keys()):
            raise ValueError(
                f'the recipe of {label!r} says {", ".join(both)}, which is what the variant '
                f'{variant!r} is about; a search states what all of its trials share as options, '
                'not in its variants'
            )
        options = {**stated.get('options', {}), **own, **recipe, **about.get('options', {})}
        options |= dict.fromkeys(['randomness.seed', *stated.get('splits', [])], seed)
        norm, times = about.get('norm', ''), stated.get('stretch', 1)
        if (norm or times > 1) and (label, variant) not in known:
            cfg = read_config(config, options)
            found = norm_overrides(cfg, norm, stated.get('norm_options', {})) if norm else {}
            known[label, variant] = found | (stretched(cfg, times) if times > 1 else {})
        more = known.get((label, variant), {})
        options = {key: own for key, own in options.items() if key not in more} | more
        first = stated.get('after', {}).get(label)
        after = run_name(first, str(variant), seed) if first else None
        yield Run(label, str(variant), seed, config, options, after, norm)


def _recipes(
    stated: Mapping[str, Any], folder: Path, variants: Iterable[str]
) -> Callable[[str, str], Mapping[str, Any]]:
    """The recipe of a variant and label; empty where the suite names no recipes."""
    files = stated.get('recipes', {})
    files = dict.fromkeys(variants, files) if isinstance(files, str) else files
    if files and files.keys() != set(variants):
        raise ValueError(
            f'recipes are of {", ".join(files)}, the variants are {", ".join(variants)}; name a '
            'file of recipes for each'
        )
    known = {variant: read_recipes(folder / file) for variant, file in files.items()}

    def recipe(variant: str, label: str) -> Mapping[str, Any]:
        own = known.get(variant, {})
        if own and label not in own:
            raise ValueError(
                f'{folder / files[variant]} has no recipe for {label!r}, only for '
                f'{", ".join(own)}; search one for it, or name a label: recipe='
            )
        return own.get(label, {})

    return recipe


def _paper(
    stated: Mapping[str, Any], path: Path, runs: Sequence[Run]
) -> Mapping[str, Sequence[float]]:
    """The paper's results: the suite's own, else its twin's, else those of results.yml."""
    if 'paper' in stated:
        found = stated['paper']
    elif 'twin' in stated:
        return read_suite(path.parent / stated['twin']).paper
    else:
        known = _known_results(path.resolve().parent)
        found = {
            row_name(run.label, run.variant): known[run.config.stem]
            for run in runs
            if known.get(run.config.stem) is not None and not run.norm
        }
    return {row: value if isinstance(value, list) else [value] for row, value in found.items()}


def _known_results(folder: Path) -> dict[str, Any]:
    """The paper's results by config, from the results.yml of the configs above a folder."""
    for parent in (folder, *folder.parents):
        if (parent / 'results.yml').is_file():
            families = read_config_results(parent).values()
            return {name: m['paper'] for own in families for name, m in own['models'].items()}
    return {}
