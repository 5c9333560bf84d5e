"""The datasets of a config, however its data loaders, lists and wrappers nest them."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

_LOADING = re.compile(r'^Load|(Init|Decode)$')


def type_name(kind: Any) -> str:
    """The bare name of a type of a config: of 'mmseg.Resize', of a class, or of a dict with one."""
    if isinstance(kind, Mapping):
        kind = kind.get('type', '')
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def scope_of(cfg: Config) -> str:
    """The library of a config: its ``default_scope``, else where the class of its model is from.

    Configs in pure Python name classes and need no scope, but what they leave out is named.
    """
    kind = (cfg.get('model') or {}).get('type')
    homes = [base.__module__.partition('.')[0] for base in getattr(kind, '__mro__', ())]
    found = next((home for home in homes if home in ('mmseg', 'mmpretrain', 'mmaction')), None)
    return cfg.get('default_scope') or found or 'mmengine'


def data_loaders(cfg: Config, split: str) -> list[Any]:
    """The data loaders of a split: one, several, or none.

    Args:
        cfg: The config.
        split: 'train', 'val' or 'test'.

    Returns:
        The config's own dicts; of a training the ``other_loaders`` of mmaction2's loop as well.
    """
    loaders = cfg.get(f'{split}_dataloader') or []
    loaders = [loaders] if isinstance(loaders, Mapping) else list(loaders)
    if split == 'train':
        loaders += (cfg.get('train_cfg') or {}).get('other_loaders') or []
    return [loader for loader in loaders if isinstance(loader, Mapping)]


def innermost(
    node: Any, wrappers: tuple[Mapping, ...] = ()
) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yields each dataset inside lists and wrappers (RepeatDataset, ConcatDataset, ...), in order.

    Args:
        node: The ``dataset`` of a data loader: a dict, a list of some, or a dict of some by name.
        wrappers: The wrappers around it.

    Yields:
        The config's own dict of a dataset, and those of the wrappers around it, outermost first.
    """
    if isinstance(node, Mapping) and 'type' in node:
        inside = node.get('datasets', node.get('dataset'))
        if isinstance(inside, Mapping | list | tuple):
            yield from innermost(inside, (*wrappers, node))
        else:
            yield node, wrappers
    elif isinstance(node, Mapping | list | tuple):
        for item in node.values() if isinstance(node, Mapping) else node:
            yield from innermost(item, wrappers)


def datasets_of(cfg: Config, split: str, outer_steps: bool = False) -> list[dict[str, Any]]:
    """The innermost datasets of a split, as copies with ``pipeline`` and ``_scope_``.

    Args:
        cfg: The config.
        split: 'train', 'val' or 'test'.
        outer_steps: Whether the pipelines of wrappers, as mmseg's mixes have them, follow a
            dataset's own.
    """
    found = []
    for loader in data_loaders(cfg, split):
        for node, wrappers in innermost(loader.get('dataset')):
            scopes = [each['_scope_'] for each in (*wrappers, node) if '_scope_' in each]
            copied = {**node, '_scope_': scopes[-1] if scopes else scope_of(cfg)}
            if outer_steps and any(wrapper.get('pipeline') for wrapper in wrappers):
                copied['pipeline'] = [s for each in (node, *wrappers[::-1]) for s in _steps(each)]
            found.append(copied)
    return found


def replace_pipelines(node: Any, pipeline: Sequence) -> None:
    """Sets the pipeline of every innermost dataset, in place; wrappers then have no steps.

    Args:
        node: The ``dataset`` of a data loader, see :func:`innermost`.
        pipeline: All the steps.
    """
    for dataset, wrappers in innermost(node):
        dataset['pipeline'] = copy.deepcopy(pipeline)
        for wrapper in wrappers:
            if wrapper.get('pipeline'):
                wrapper['pipeline'] = []


def loading_steps(node: Mapping) -> list[Mapping]:
    """The steps of a dataset's pipeline that read files, by their names."""
    steps = [step for step in node.get('pipeline') or [] if isinstance(step, Mapping)]
    return [step for step in steps if _LOADING.search(type_name(step))]


def _steps(node: Mapping) -> list:
    """The steps of a dataset or wrapper, without those that a wrapper is told to skip."""
    skipped = node.get('skip_type_keys') or ()
    return [step for step in node.get('pipeline') or [] if step['type'] not in skipped]
