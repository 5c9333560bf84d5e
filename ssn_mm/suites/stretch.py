"""The same training some times as long, with all that its config says about when."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

TRAINING = ('max_epochs', 'max_iters', 'val_begin', 'val_interval')  # of train_cfg
SCHEDULE = ('begin', 'end', 'T_max', 'milestones', 'step_size', 'total_iters', 'total_steps')


def stretched(cfg: Config, times: int) -> dict[str, Any]:
    """Overrides by which a training is longer, its schedule stretched.

    Validations and checkpoints are as many as before. What counts from the beginning in another
    place than these, such as a hook that acts at an epoch, is not known here.

    Args:
        cfg: The config of a training.
        times: How many times as long it shall be.

    Raises:
        ValueError: The config does not say how long its training is.
    """
    stated = cfg.to_dict()
    training = _multiplied(stated.get('train_cfg') or {}, TRAINING, times)
    if not {'max_epochs', 'max_iters'} & training.keys():
        raise ValueError(
            f'{cfg.filename}: train_cfg has no max_epochs or max_iters to multiply by {times}'
        )
    found: dict[str, Any] = {f'train_cfg.{key}': value for key, value in training.items()}
    schedulers = stated.get('param_scheduler') or []
    several = schedulers if isinstance(schedulers, list) else [schedulers]
    longer = [own | _multiplied(own, SCHEDULE, times) for own in several]
    if longer:  # as a whole: overrides of its parts would be lost where a suite states the whole
        found['param_scheduler'] = longer if isinstance(schedulers, list) else longer[0]
    checkpoint = (stated.get('default_hooks') or {}).get('checkpoint') or {}
    for key, value in _multiplied(checkpoint, ('interval',), times).items():
        found[f'default_hooks.checkpoint.{key}'] = value
    return found


def _multiplied(stated: Mapping[str, Any], keys: tuple[str, ...], times: int) -> dict[str, Any]:
    """Those of the keys that are stated; -1 means never and stays."""
    return {
        key: [own * times for own in value] if isinstance(value, list | tuple) else value * times
        for key in keys
        if (value := stated.get(key)) is not None and value != -1
    }
