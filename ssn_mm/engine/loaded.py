"""Whether a network has all of its weights from a checkpoint."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ..weights.loading import unwrapped


def watch_loading(
    model: nn.Module, state: Mapping[str, Any], found: Callable[[nn.Module, list[str]], None]
) -> None:
    """Has ``found`` called after the next loading into ``model`` that leaves weights as they are.

    mmengine's runner goes on with those at random, and says so in a line of its log. What a
    layer fills in itself, or has its own word on (``register_load_state_dict_post_hook``, as
    LoRA's), counts as loaded.

    Args:
        model: The network, with or without what wraps it.
        state: The weights that will be loaded, by name.
        found: Takes the network and the names of its parameters without weights.
    """
    model = unwrapped(model)
    before = {name: (weight, weight._version) for name, weight in model.named_parameters()}
    known = {re.sub(r'^module\.', '', name) for name in state}  # their shapes may differ

    def loaded(module: nn.Module, keys: Any) -> None:
        handle.remove()
        lacking = known.union(keys.missing_keys)
        names = [name for name, seen in before.items() if name in lacking and not _changed(*seen)]
        if names:
            found(module, names)

    handle = model.register_load_state_dict_post_hook(loaded)


def refuse_to_run(model: nn.Module, names: list[str], why: str) -> None:
    """Has the layers that own parameters raise when they are used.

    Those that an evaluation does not use, such as auxiliary heads, need no weights.

    Raises:
        ValueError: From such a layer.
    """

    def refuse(layer: nn.Module, inputs: tuple) -> None:
        raise ValueError(why)

    for owner in {name.rpartition('.')[0] for name in names}:
        model.get_submodule(owner).register_forward_pre_hook(refuse)


def _changed(weight: Tensor, version: int) -> bool:
    return weight._version != version
