"""What tools/deploy.py does."""

import copy
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import load_checkpoint

from ..layers import ssn_layers
from .export import TensorMode, export_program
from .freeze import freeze


def deploy(
    cfg: Config, checkpoint: str, out: Path, shape: Sequence[int] | None = None
) -> torch.nn.Module:
    """Freezes a trained network, exports it and prints what became of it.

    Args:
        cfg: The config it was trained with.
        checkpoint: Its weights; every SSN has chosen.
        out: Program to write, .pt2.
        shape: Height and width of the input in pixels, before them the frames of a video's clip;
            else the size of the training.

    Returns:
        The frozen network.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: No shape is known, or it has too few or too many numbers; an SSN has not
            chosen; or the results differ.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(
            f'no checkpoint {checkpoint!r}; training writes them to its work dir'
        )
    shape = shape or _input_size(cfg)
    wanted = 'FRAMES HEIGHT WIDTH' if 'Recognizer3D' in str(cfg.model.type) else 'HEIGHT WIDTH'
    if shape is None:
        raise ValueError(f'the config tells no input size; give --shape {wanted}')
    if len(shape) != len(wanted.split()):
        raise ValueError(f'{cfg.model.type} takes --shape {wanted}, got {tuple(shape)}')
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model = MODELS.build(cfg.model).eval()
    load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    # mmaction2's recognizers take several clips of a video, (N, M, C, T, H, W)
    inputs = torch.randn(1, *([1] if len(shape) == 3 else []), 3, *shape)
    with torch.no_grad():
        expected = TensorMode(model)(inputs)
        names = [name for name, _ in ssn_layers(model)]
        frozen = freeze(copy.deepcopy(model))
        difference = (TensorMode(frozen)(inputs) - expected).abs().max().item()
    scale = expected.abs().max().item()
    if not difference <= 1e-4 * scale:
        raise ValueError(f'frozen outputs differ by {difference:.3g} of {scale:.3g}; not exported')
    exported = export_program(frozen, inputs, out)
    became = Counter(type(frozen.get_submodule(name)).__name__ for name in names)
    layers = ', '.join(f'{count} {kind}' for kind, count in became.most_common())
    print(f'{len(names)} SSN layers became {layers}.')
    print(
        f'Outputs up to {scale:.3g}; frozen differ by {difference:.2g}, exported by {exported:.2g}.'
    )
    print(
        f'Written: {out} ({out.stat().st_size / 1e6:.1f} MB), for inputs {tuple(inputs.shape)}. '
        f"Run it with PyTorch alone: torch.export.load('{out}').module()(images)"
    )
    return frozen


def _input_size(cfg: Config) -> tuple[int, ...] | None:
    """Height and width of what the network sees, of a video the frames too, if the config tells."""
    pipeline = (cfg.get('test_dataloader') or {}).get('dataset', {}).get('pipeline', [])
    steps = {step['type']: step for step in pipeline}
    size = cfg.model.get('data_preprocessor', {}).get('size')  # segmentation pads to it
    size = size or steps.get('CenterCrop', {}).get('crop_size')
    frames = steps.get('SampleFrames', {}).get('clip_len')
    video = 'Recognizer3D' in str(cfg.model.type)
    if size is None or (video and frames is None):
        return None
    size = (size, size) if isinstance(size, int) else tuple(size)
    return (frames, *size) if video else size
