"""Inputs of the shape that a config's network takes."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..datasets.pipelines import steps_of_tests
from .networks import input_channels, takes_clips, task_of


def example_inputs(cfg: Config, model: nn.Module, shape: Sequence[int] | None = None) -> Tensor:
    """A batch of two inputs of noise: pictures (2, C, H, W), or videos with what is before C.

    Args:
        cfg: The config of the network.
        model: The network.
        shape: Height and width in pixels, before them the frames of a clip if the network takes
            clips; else what the config tells.

    Raises:
        ValueError: The config tells no size, or ``shape`` has too few or too many numbers.
    """
    shape = _checked(shape or input_size(cfg, model), model)
    return torch.randn(2, *_leading(cfg, model), input_channels(model), *shape)


def _checked(shape: Sequence[int] | None, model: nn.Module) -> Sequence[int]:
    wanted = 'FRAMES HEIGHT WIDTH' if takes_clips(model) else 'HEIGHT WIDTH'
    if shape is None:
        raise ValueError(f'the config tells no input size; give --shape {wanted}')
    if len(shape) != len(wanted.split()):
        raise ValueError(f'{type(model).__name__} takes --shape {wanted}, got {tuple(shape)}')
    return shape


def _leading(cfg: Config, model: nn.Module) -> list[int]:
    """Dimensions between batch and channels: clips of a video, or segments of one."""
    if task_of(cfg) != 'action':
        return []
    if takes_clips(model):
        return [2]
    sampler = _sampler(steps_of_tests(cfg))
    return [max(2, sampler.get('clip_len', 1) * sampler.get('num_clips', 8))]


def _sampler(steps: Mapping[str, Mapping]) -> Mapping:
    """The step that samples frames of a video."""
    return next((step for name, step in steps.items() if 'Sample' in name), {})


def input_size(cfg: Config, model: nn.Module) -> tuple[int, ...] | None:
    """Height and width of what the network sees, of a video the frames too, if the config tells."""
    steps = steps_of_tests(cfg)
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    size = preprocessor.get('size')  # segmentation pads to it
    size = size or (cfg.model.get('test_cfg') or {}).get('crop_size') or cfg.get('crop_size')
    crops = (step.get('crop_size') for name, step in steps.items() if name.endswith('Crop'))
    size = size or next((crop for crop in crops if crop), None) or _resized(cfg, steps)
    frames = [_sampler(steps).get('clip_len')] if takes_clips(model) else []
    if size is None or None in frames:
        return None
    return (*frames, *((size, size) if isinstance(size, int) else size))


def _resized(cfg: Config, steps: Mapping[str, Mapping]) -> tuple[int, int] | None:
    """Height and width that pictures are resized to, where their aspect is not kept."""
    step = steps.get('Resize') or {}
    scale = step.get('scale')  # a number, or width and height
    if scale is None or step.get('keep_ratio') or task_of(cfg) == 'action':
        return None
    return (scale, scale) if isinstance(scale, int) else (scale[1], scale[0])
