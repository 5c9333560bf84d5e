"""Whether a norm can serve the maps of a network, seen before it is trained."""

from typing import Any

import torch
from torch import nn

from .neighbours import run_parts
from .record import Contestant


def check_network(model: Any, contestant: Contestant, batch: int, size: int) -> None:
    """Runs a network of OpenMMLab on noise, in training, and sees whether its norms take the maps.

    Args:
        model: The network, which is not to be used afterwards.
        contestant: The norm that its ``norm_cfg`` names.
        batch: Number of pictures or clips.
        size: Their height and width in pixels.

    Raises:
        ValueError: A norm refuses its map, says which; or the network has no such norm.
    """
    layers = {m: name for name, m in model.named_modules() if isinstance(m, contestant.layers)}
    if not layers:
        raise ValueError(f'{type(model).__name__} is built without it, whatever norm_cfg says')
    running: list[nn.Module] = []
    for layer in layers:
        layer.register_forward_pre_hook(lambda module, _: running.append(module))
        layer.register_forward_hook(lambda module, *_: running.pop() and None)
    try:
        with torch.no_grad(), torch.random.fork_rng():
            run_parts(model.train(), layers, batch, size)
    except (RuntimeError, ValueError) as error:
        if running:
            raise ValueError(f'{layers[running[-1]]}: {error}') from error
        # a head that cannot be run by itself is left to its training
