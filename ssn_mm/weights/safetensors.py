"""Checkpoints as .safetensors files, which hold no code.

Their metadata's ``meta`` is a JSON object with what ``meta`` is in a .pth. The patch of mmengine
makes such a file readable wherever mmengine reads a local checkpoint: ``load_from``, ``init_cfg``,
tools.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..commands import pip_install


def load_from_safetensors(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Reads a file as mmengine's other loaders do.

    Args:
        filename: The file.
        map_location: Device as a string or ``torch.device``; anything else is the CPU.

    Returns:
        ``state_dict`` and ``meta``, empty where the file has none.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: safetensors is not installed.
        ValueError: The file is damaged, no .safetensors file, or has metadata of another form.
    """
    _require()
    import safetensors
    import torch

    path = Path(filename).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint '{path}'")
    device = map_location if isinstance(map_location, str | torch.device) else 'cpu'
    try:
        with safetensors.safe_open(path, 'pt', device=str(device)) as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            meta = json.loads((file.metadata() or {}).get('meta', '{}'))
    except (safetensors.SafetensorError, ValueError) as error:
        raise ValueError(f'{path} is damaged, or no .safetensors file: {error}') from error
    if not isinstance(meta, dict):
        raise ValueError(f"{path}: the metadata's 'meta' is a JSON object, got {meta!r}")
    return dict(state_dict=state, meta=meta)


def to_safetensors(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    """The bytes of a .safetensors file of weights.

    Args:
        state: Tensors by name.
        meta: Anything that JSON can say.

    Raises:
        ImportError: safetensors is not installed.
    """
    _require()
    from safetensors.torch import save

    # views and tensors that share memory are refused
    own = {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}
    return save(own, dict(format='pt', meta=json.dumps(meta)))


def _require() -> None:
    try:
        import safetensors  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'.safetensors files need a package more: {pip_install("ssn-mm[hub]")}'
        ) from error
