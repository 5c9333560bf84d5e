"""Contestants in the grid of a suite: the same config with another norm."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from ..config_files import read_config
from ..contestants import contestants, find_contestant
from ..contestants.serving import check_network
from ..deploy.example_inputs import example_inputs
from ..deploy.networks import build_network

ALL = 'all'  # in the place of a list of names
LARGEST = 128  # pixels of the noise that norms are checked with; larger maps are no harder
OWN = 'ssn_mm'


def chosen_norms(stated: Mapping[str, Any], asked: Sequence[str] | None) -> dict[str, Any]:
    """The configs of a suite by label, with those of contestants.

    Args:
        stated: What the suite's file states.
        asked: Labels of the suite's configs and names of contestants; with 'all' among them, all
            of both. None for the configs and the contestants that the file states.

    Returns:
        Entries as in the suite's ``configs``; those of contestants have a ``norm``.

    Raises:
        ValueError: A name is no contestant's, or the config that contestants inherit is not there.
    """
    configs, own = stated['configs'], stated.get('norms', [])
    names = [*configs, *([own] if isinstance(own, str) else own)] if asked is None else asked
    if ALL in names:
        names = [*(name for name in names if name != ALL), *configs, *contestants()]
    added = [name for name in dict.fromkeys(names) if name not in configs]
    base = stated.get('norm_base', 'BN')
    if added and base not in configs:
        raise ValueError(
            f'norm_base must be a label of configs ({", ".join(configs)}), whose config '
            f'{", ".join(added)} inherit, got {base!r}'
        )
    for name in added:
        find_contestant(name)
    inherited = configs.get(base)
    inherited = inherited if isinstance(inherited, dict) else dict(config=inherited)
    return {name: configs.get(name, {**inherited, 'norm': name}) for name in dict.fromkeys(names)}


def norm_overrides(cfg: Config, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides that give a config the norm of a contestant, as ``--cfg-options`` has them.

    Args:
        cfg: The config, with another norm.
        name: The contestant's name.
        options: Values for those options that its ``norm_cfg`` has.

    Raises:
        ValueError: There is no such contestant, or the config's network has no ``norm_cfg``.
    """
    contestant = find_contestant(name)
    rank = 3 if str(cfg.model.get('type')).endswith('Recognizer3D') else 2
    norm_cfg = dict(contestant.config(rank, **options), _delete_=True)
    found: dict[str, Any] = {place: dict(norm_cfg) for place in _places(cfg.model, 'model')}
    if not found:
        raise ValueError(f'{name} needs a norm_cfg in model of {cfg.filename}, which has none')
    others = {hook['type'] for own in contestants().values() for hook in own.hooks}
    hooks = [hook for hook in cfg.get('custom_hooks', []) if hook['type'] not in others]
    if contestant.hooks or len(hooks) < len(cfg.get('custom_hooks', [])):
        found['custom_hooks'] = [*hooks, *map(dict, contestant.hooks)]
    if contestant.module.partition('.')[0] != OWN:
        imports = (cfg.get('custom_imports') or {}).get('imports') or [OWN]
        imports = [imports] if isinstance(imports, str) else imports
        found['custom_imports'] = dict(
            imports=[*imports, contestant.module], allow_failed_imports=False
        )
    return found


def _places(node: Any, path: str) -> Iterator[str]:
    """The paths of all ``norm_cfg`` in nested dicts and lists."""
    if isinstance(node, list | tuple):
        node = {str(index): value for index, value in enumerate(node)}
    for key, value in node.items() if isinstance(node, Mapping) else ():
        if key == 'norm_cfg' and isinstance(value, Mapping):
            yield f'{path}.{key}'
        else:
            yield from _places(value, f'{path}.{key}')


def check_norms(runs: Iterable[Any]) -> None:
    """Builds the network of each contestant and runs it on noise, before anything is trained.

    Args:
        runs: The runs of a suite; those of one norm and config are checked once.

    Raises:
        ValueError: A norm cannot serve a network, says which and why.
    """
    first = {(run.norm, run.config, run.variant): run for run in runs if run.norm}
    for run in first.values():
        cfg = read_config(run.config, run.options)
        contestant = find_contestant(run.norm)
        try:
            network = build_network(cfg)
            check_network(network, contestant, *_sizes(cfg, network))
        except ValueError as error:
            raise ValueError(f'{run.norm} cannot serve {run.config.name}: {error}') from error


def _sizes(cfg: Config, network: Any) -> tuple[int, int]:
    """The size of a batch, at most 2, and of its pictures."""
    batch = (cfg.get('train_dataloader') or {}).get('batch_size', 2)
    try:
        size = min(*example_inputs(cfg, network).shape[-2:], LARGEST)
    except ValueError:  # the config tells none
        size = LARGEST
    return min(batch, 2), size
