"""What a checkpoint holds: weights by name, and what is said of them; needs PyTorch alone."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present


def check_content(content: Any, source: str | Path) -> None:
    """Checks that what was read of ``source`` is a checkpoint.

    Raises:
        ValueError: It is something else, such as a list or a single tensor.
    """
    if not isinstance(content, Mapping):
        raise ValueError(
            f'{source} is no checkpoint: it holds a {type(content).__name__}, not weights by name'
        )


def state_and_meta(
    content: Any, source: str | Path
) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
    """Splits a checkpoint as OpenMMLab, torchvision and others write it.

    Args:
        content: What ``torch.load``, or another loader, returned.
        source: Where it comes from, for messages.

    Returns:
        The weights by name; and what OpenMMLab says of them, such as ``dataset_meta`` and ``iter``,
        empty where nothing is said.

    Raises:
        ValueError: The content has no weights by name.
    """
    meta = content.get('meta') if isinstance(content, Mapping) else None
    for key in ('state_dict', 'model'):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not any(map(torch.is_tensor, content.values())):
        raise ValueError(f'{source} holds no weights by name, but a {type(content).__name__}')
    return content, meta or {}


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Gives a network weights that have to be all of its own and no others.

    Args:
        model: The network.
        state: Tensors by name, with or without the 'module.' of a distributed wrapper in front.
        source: Where they come from, for the message.

    Raises:
        ValueError: They are of another network.
    """
    state = copy.copy(state)  # with what PyTorch notes beside its tensors
    consume_prefix_in_state_dict_if_present(state, 'module.')  # type: ignore[arg-type]
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f'{source} is of another network: {error}') from error
