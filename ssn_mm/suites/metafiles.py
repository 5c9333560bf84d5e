"""Metafiles, the model index and the READMEs' tables, rendered from configs/results.yml."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..records import is_number
from ..renamed import refuse_renamed

PAPER = {
    'Title': 'SSN: Learning Sparse Switchable Normalization via SparsestMax',
    'URL': 'https://arxiv.org/abs/1903.03793',
}
NOTE = '# Made by tools/analysis_tools/make_metafiles.py from configs/results.yml, not by hand.\n'
# keys of an entry for a folder, and for a model, with the kinds of their values
FAMILY = dict(title=str, task=str, architecture=list, models=dict)
WORDS: dict[Any, str] = {str: 'a text', list: 'a list', dict: 'entries by name'}
WORDS |= {(int, str): 'a number or a text', (str, list): 'a name or a list of names'}
MODEL = dict(norm=str, data=str, table=(int, str), metric=(str, list), paper=object, ours=object)
TABLE = re.compile(r'(<!-- results -->\n).*?(<!-- /results -->)', re.DOTALL)

__getattr__ = refuse_renamed(__name__, {'load_results': 'read_config_results'})


def read_config_results(configs: Path) -> dict[str, dict[str, Any]]:
    """Reads ``results.yml``.

    Args:
        configs: The folder of the configs.

    Returns:
        Per folder its title, task, architecture and models; each model has norm, data, table,
        metric, and its value in the paper and in ours (None until run); of several metrics,
        lists.

    Raises:
        ValueError: The file is no YAML, an entry lacks a key or has one too many or a value of
            the wrong kind, or the name of a model does not tell the batch.
    """
    file = configs / 'results.yml'
    try:
        results = yaml.safe_load(file.read_text(encoding='utf-8'))
    except yaml.YAMLError as error:
        raise ValueError(f'{file} is no YAML: {error}') from error
    _check_entry(str(file), results)
    for folder, family in results.items():
        _check_entry(f'{file}, {folder}', family, FAMILY)
        _check_entry(f'{file}, {folder}, models', family['models'])
        for name, model in family['models'].items():
            where = f'{file}, {name}'
            _check_entry(where, model, MODEL)
            for key in ('paper', 'ours'):
                _check_value(where, key, model[key], model['metric'])
            batch(name)
    return results


def _check_entry(where: str, entry: Any, kinds: Mapping[str, Any] | None = None) -> None:
    """Checks that an entry of ``results.yml`` is a mapping, with exactly the keys of ``kinds``."""
    if not isinstance(entry, dict) or not entry:
        raise ValueError(f'{where} is {entry!r}, expected entries by name')
    if kinds is None:
        return
    if set(entry) != set(kinds):
        raise ValueError(f'{where} has {sorted(entry)}, expected {sorted(kinds)}')
    for key, kind in kinds.items():
        if not isinstance(entry[key], kind):
            raise ValueError(f'{where}: {key} is {entry[key]!r}, expected {WORDS[kind]}')


def _check_value(where: str, key: str, value: Any, metric: str | list[str]) -> None:
    """Checks a result: None, a number, or of several metrics a list of as many numbers."""
    wanted = f'{len(metric)} numbers' if isinstance(metric, list) else 'a number'
    fits = (
        len(value) == len(metric)
        if isinstance(value, list) and isinstance(metric, list)
        else (not isinstance(value, list) and not isinstance(metric, list))
    )
    if value is not None and not (fits and all(map(is_number, _list(value)))):
        raise ValueError(f'{where}: {key} is {value!r}, expected {wanted} for {metric}, or null')


def batch(name: str) -> tuple[int, int]:
    """GPUs and samples per GPU from a config's name, such as '..._8xb2-100k_...'.

    Raises:
        ValueError: The name has no such part.
    """
    found = re.search(r'_(\d+)xb(\d+)-', name)
    if found is None:
        raise ValueError(f'{name!r} does not tell the batch, expected a part like _8xb2-')
    return int(found[1]), int(found[2])


def render(configs: Path) -> dict[Path, str]:
    """The text that each rendered file should hold, by path: metafiles, model index, READMEs."""
    results = read_config_results(configs)
    files = {}
    for folder, family in results.items():
        here = configs / folder
        files[here / 'metafile.yml'] = NOTE + _yaml(_metafile(folder, family))
        readme = (here / 'README.md').read_text(encoding='utf-8')
        files[here / 'README.md'] = TABLE.sub(rf'\1{_table(family)}\2', readme)
    imports = [f'configs/{folder}/metafile.yml' for folder in results]
    files[configs / 'model-index.yml'] = NOTE + _yaml({'Import': imports})
    return files


def _metafile(folder: str, family: dict[str, Any]) -> dict[str, Any]:
    collection = f'SSN {family["title"].lower()}'
    data = list(dict.fromkeys(model['data'] for model in family['models'].values()))
    return {
        'Collections': [
            {
                'Name': collection,
                'Metadata': {'Training Data': data, 'Architecture': family['architecture']},
                'Paper': PAPER,
                'README': f'configs/{folder}/README.md',
            }
        ],
        'Models': [_model(collection, folder, family, name) for name in family['models']],
    }


def _model(collection: str, folder: str, family: dict[str, Any], name: str) -> dict[str, Any]:
    model = family['models'][name]
    gpus, samples = batch(name)

    def result(value: Any) -> list[dict[str, Any]] | None:
        if value is None:
            return None
        metrics = dict(zip(_list(model['metric']), _list(value), strict=True))
        return [{'Task': family['task'], 'Dataset': model['data'], 'Metrics': metrics}]

    return {
        'Name': name,
        'In Collection': collection,
        'Config': f'configs/{folder}/{name}.py',
        'Metadata': {
            'Training Data': model['data'],
            'Normalizer': model['norm'],
            'GPUs': gpus,
            'Samples per GPU': samples,
            'Global Batch Size': gpus * samples,
        },
        'Results': result(model['ours']),
        "Paper's Results": result(model['paper']),
    }


def _table(family: dict[str, Any]) -> str:
    lines = [
        "| config | data | norm | GPUs x samples | metric | the paper's | ours |",
        '|---|---|---|---|---|---|---|',
    ]
    for name, model in family['models'].items():
        gpus, samples = batch(name)
        table = f'table {model["table"]}' if isinstance(model['table'], int) else model['table']
        paper = '' if model['paper'] is None else f'{_joined(model["paper"])} ({table})'
        lines.append(
            f'| [{name}]({name}.py) | {model["data"]} | {model["norm"]} | {gpus} x {samples} '
            f'| {_joined(model["metric"])} | {paper} | {_joined(model["ours"])} |'
        )
    return '\n'.join(lines) + '\n'


def _list(value: Any) -> list[Any]:
    """The metrics or values of a row, whether it has one or several."""
    return value if isinstance(value, list) else [value]


def _joined(value: Any) -> str:
    return '' if value is None else ' / '.join(map(str, _list(value)))


def _yaml(content: dict[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
