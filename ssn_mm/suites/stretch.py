"""The same training some times as long, with all that its config says about when."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

TRAINING = ('max_epochs', 'max_iters', 'val_begin', 'val_interval', 'dynamic_intervals')
# of mmengine's schedulers, by epoch or by iteration
TIMES = ('begin', 'end', 'T_max', 'milestones', 'step_size', 'periods', 'total_steps')
SCHEDULE = (*TIMES, 'patience', 'cooldown')  # the last two of ReduceOnPlateau
CHECKPOINT = ('interval', 'save_begin')


def stretched(cfg: Config, times: int) -> dict[str, Any]:
    """Overrides by which a training is longer, its schedule stretched.

    Where the config states how often it validates and writes checkpoints, it does so as many times
    as before. What counts in another place than these, such as a hook that acts at an epoch, is
    not known here.

    Args:
        cfg: The config of a training.
        times: How many times as long it shall be.

    Returns:
        The whole ``train_cfg``, ``param_scheduler`` and ``default_hooks.checkpoint``, since
        overrides of their parts would be lost where others state the whole.

    Raises:
        ValueError: The config does not say how long its training is.
    """
    stated = cfg.to_dict()
    training = stated.get('train_cfg') or {}
    if training.get('max_epochs') is None and training.get('max_iters') is None:
        raise ValueError(
            f'{cfg.filename}: train_cfg has no max_epochs or max_iters to multiply by {times}'
        )
    found: dict[str, Any] = dict(train_cfg=_longer(training, TRAINING, times))
    if schedulers := stated.get('param_scheduler'):
        found['param_scheduler'] = _longer_schedule(schedulers, times)
    if checkpoint := (stated.get('default_hooks') or {}).get('checkpoint'):
        found['default_hooks.checkpoint'] = _longer(checkpoint, CHECKPOINT, times)
    return found


def _longer_schedule(stated: Any, times: int) -> Any:
    """One scheduler, a list of them, or a dict of either by the name of an optimizer."""
    if isinstance(stated, list | tuple):
        return [_longer_schedule(each, times) for each in stated]
    if 'type' not in stated:
        return {name: _longer_schedule(own, times) for name, own in stated.items()}
    own = _longer(stated, SCHEDULE, times)
    if str(own['type']).startswith('Exponential'):  # multiplied by gamma at each step
        own['gamma'] **= 1 / times
    return own


def _longer(stated: Mapping[str, Any], keys: tuple[str, ...], times: int) -> dict[str, Any]:
    """A copy in which the keys that are there are multiplied."""
    return {key: _times(own, times) if key in keys else own for key, own in stated.items()}


def _times(when: Any, times: int) -> Any:
    """A number, or nested lists of them, multiplied; None and -1, which mean never, stay."""
    if isinstance(when, list | tuple):
        return [_times(each, times) for each in when]
    return when if when is None or when == -1 else when * times
