"""Metafiles, the model index and the READMEs' tables, rendered from configs/results.yml."""

import re
from pathlib import Path
from typing import Any

import yaml

PAPER = {
    'Title': 'SSN: Learning Sparse Switchable Normalization via SparsestMax',
    'URL': 'https://arxiv.org/abs/1903.03793',
}
NOTE = '# Made by tools/analysis_tools/make_metafiles.py from configs/results.yml, not by hand.\n'
TABLE = re.compile(r'(<!-- results -->\n).*?(<!-- /results -->)', re.DOTALL)


def load_results(configs: Path) -> dict[str, dict[str, Any]]:
    """Reads ``results.yml``.

    Args:
        configs: The folder of the configs.

    Returns:
        Per folder its title, task, architecture and models; each model has norm, data, table,
        metric, and its value in the paper and in ours (None until run); of several metrics,
        lists.

    Raises:
        ValueError: A model lacks a key or has one too many, or its name does not tell the batch.
    """
    results = yaml.safe_load((configs / 'results.yml').read_text())
    expected = {'norm', 'data', 'table', 'metric', 'paper', 'ours'}
    for folder in results.values():
        for name, model in folder['models'].items():
            if set(model) != expected:
                raise ValueError(f'{name} has {sorted(model)}, expected {sorted(expected)}')
            batch(name)
    return results


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
    """What the rendered files should hold, by path: metafiles, model index and READMEs."""
    results = load_results(configs)
    files = {}
    for folder, family in results.items():
        here = configs / folder
        files[here / 'metafile.yml'] = NOTE + _yaml(_metafile(folder, family))
        readme = (here / 'README.md').read_text()
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
    """One metric or value, or several, of a row."""
    return value if isinstance(value, list) else [value]


def _joined(value: Any) -> str:
    return '' if value is None else ' / '.join(map(str, _list(value)))


def _yaml(content: dict[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
