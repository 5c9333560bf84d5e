"""What is said of a network whose training was stopped before every SSN had selected."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor, nn

from ..commands import command, listed
from ..layers import selecting_norms
from .tensor_mode import TensorMode


def unselected_rows(
    model: nn.Module, cfg: Config, checkpoint: str | Path, meta: Mapping[str, Any]
) -> str:
    """Says which ratios have not selected yet, where the training stood, and what to do.

    Args:
        model: The trained network.
        cfg: Its config.
        checkpoint: The file of its weights.
        meta: What that file says of them, such as the iteration.

    Returns:
        Sentences, the last of which :func:`forced_change` ends; '' where all ratios have selected.
    """
    layers = dict(selecting_norms(model))
    names = [name for name, layer in layers.items() if None in layer.selected]
    if not names:
        return ''
    rows = sum(layer.selected.count(None) for layer in layers.values())
    told = f'{rows} of {2 * len(layers)} ratios have not selected yet, those of {listed(names)}'
    done, complete = _how_far(meta, cfg)
    told += f'; the checkpoint is of {done}. ' if done else '. '
    if complete:
        told += 'The training was complete: its SSNRadiusHook is missing or ends too early. '
    elif done and cfg.filename:
        own = Path(cfg.filename), '--work-dir', Path(checkpoint).parent
        told += f'Go on with it:\n    {command("train.py", *own, "--resume")}\n'
    return told + 'With --force they take their largest ratios; outputs then differ'


def forced_change(model: nn.Module, frozen: nn.Module, inputs: Tensor) -> str:
    """Says by how much forced selections change a network's outputs, as the end of a sentence."""
    expected, found = TensorMode(model)(inputs), TensorMode(frozen)(inputs)
    change = ((found - expected).abs().max() / expected.abs().max()).item()
    return f', on noise by up to {change:.1%} of the largest'


def _how_far(meta: Mapping[str, Any], cfg: Mapping[str, Any]) -> tuple[str, bool]:
    """Where a checkpoint stands, in words, and whether the config's training ends there.

    Args:
        meta: A checkpoint's meta, with its epoch or iteration.
        cfg: The config; its ``train_cfg`` says how long the training is.

    Returns:
        'iteration 4 of 600' or 'epoch 1 of 3'; '' where the checkpoint or the config does not say.
    """
    for unit, key in (('epoch', 'max_epochs'), ('iteration', 'max_iters')):
        total = (cfg.get('train_cfg') or {}).get(key)
        done = meta.get('iter' if unit == 'iteration' else unit)
        if total and done is not None:
            return f'{unit} {done} of {total}', done >= total
    return '', False
