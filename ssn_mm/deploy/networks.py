"""The networks of the three libraries: what they predict, and programs in their place."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ..config_files import check_parts
from ..datasets.nested import scope_of, type_name
from ..datasets.pipelines import averages_views, class_of
from ..publish import configs
from .tensor_mode import TensorMode, is_a

_TASKS = {
    'BaseSegmentor': 'segmentation',
    'BaseClassifier': 'classification',
    'BaseRecognizer': 'action',
}
_OTHERS = (  # networks that predict no classes, or see more than pictures and videos
    *('DepthEstimator', 'RecognizerAudio', 'RecognizerGCN', 'MMRecognizer3D', 'MultiTaskHead'),
)


def task_of(cfg: Config) -> str:
    """What a config's network predicts: 'segmentation', 'classification' or 'action'.

    Raises:
        ValueError: The network predicts something else, or no library here has it.
    """
    check_parts(cfg)
    cfg = network_config(cfg)
    kind = cfg.model.get('type')
    found = class_of(MODELS, kind, scope_of(cfg))
    names = [base.__name__ for base in getattr(found, '__mro__', ())]
    names.append(type_name(cfg.model.get('head') or {}))
    tasks = [task for name, task in _TASKS.items() if name in names]
    if others := [name for name in names if name in _OTHERS]:
        tasks = []
        kind = others[0]
    if not tasks:
        what = 'is unknown here' if found is None else 'predicts something else'
        raise ValueError(
            f'{type_name(kind)!r} of the config {what}; taken are segmentors of mmsegmentation, '
            'image classifiers of mmpretrain and recognizers of mmaction2, of pictures and videos'
        )
    if tasks == ['classification'] and 'ImageClassifier' in names and not cfg.model.get('head'):
        raise ValueError("the config's ImageClassifier has no head, so it predicts no classes")
    return tasks[0]


def network_config(cfg: Config) -> Config:
    """The config without the model for test-time augmentation, where it has one."""
    if not averages_views(cfg):
        return cfg
    inner, scope = copy.deepcopy(cfg), scope_of(cfg)
    inner.model = inner.model.module
    inner.default_scope = scope
    outer = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if outer is not None:  # mmengine's wrapper replaces the network's own
        inner.model.data_preprocessor = copy.deepcopy(outer)
    return inner


def build_network(cfg: Config) -> Any:
    """A config's network, built as mmengine's Runner builds it, in evaluation.

    Where the config has a model for test-time augmentation, it is the network inside.
    """
    return configs.build_network(network_config(cfg), trust=True)  # the user's own


def head_of(model: Any) -> Any:
    """The head that predicts labels, the last of a cascade; None if it has an unusual name."""
    for name in ('decode_head', 'cls_head', 'head'):
        head = getattr(model, name, None)
        if head is not None:
            return head[-1] if isinstance(head, nn.ModuleList) else head
    return None


def input_channels(model: nn.Module) -> int:
    """Channels of the pictures that a network takes, by its first convolution; without one, 3."""
    convolutions = (m for m in _backbone(model).modules() if isinstance(m, _ConvNd))
    return next((layer.in_channels for layer in convolutions), 3)


def takes_clips(model: nn.Module) -> bool:
    """Whether a network takes clips of several frames, (N, M, C, T, H, W)."""
    return is_a(model, 'Recognizer3D')


def with_views(cfg: Config, network: Any) -> Any:
    """A network inside the config's model for test-time augmentation; alone where it has none."""
    if not averages_views(cfg):
        return network
    wrapper = copy.deepcopy(cfg.model)
    wrapper['module'] = network
    return MODELS.build(wrapper)


def with_program(model: Any, program: Callable[[Tensor], Tensor]) -> Any:
    """A model with a program in its network's place; predictions stay the library's work.

    Args:
        model: The model, built from a config. It is left as it is.
        program: A function of the same inputs and outputs as :class:`TensorMode` of the model.

    Returns:
        A copy of the model for ``test_step``.
    """
    served, head = copy.copy(model), head_of(model)
    if is_a(model, 'BaseSegmentor'):
        served.encode_decode = lambda inputs, metas: head.predict_by_feat(program(inputs), metas)
        served.measuring = getattr(program, 'meta', {}).get('measures')
    elif is_a(model, 'BaseRecognizer'):
        served.predict = lambda inputs, samples, **_: head.predict_by_feat(program(inputs), samples)
    else:
        served._modules = dict(model._modules)
        served.head = copy.copy(head)
        served.head.forward = lambda features: features
        served.extract_feat = lambda inputs, **_: program(inputs)
    return served


def predictions(model: Any, inputs: Tensor, samples: list | None = None) -> list:
    """A model's predictions for preprocessed inputs, one a sample, as its library makes them."""
    if samples is None and is_a(model, 'BaseRecognizer'):
        from mmaction.structures import ActionDataSample  # not every installation has it

        samples = [ActionDataSample() for _ in inputs]
    return model(inputs, copy.deepcopy(samples), mode='predict')


def equal_labels(one: list, other: list) -> tuple[int, int]:
    """How many labels of two lists of predictions are equal, and how many there are.

    Segmentation has a label for each pixel, the other tasks have one for each sample.
    """
    equal = total = 0
    for left, right in zip(one, other, strict=True):
        if hasattr(left, 'pred_sem_seg'):
            same = left.pred_sem_seg.data.cpu() == right.pred_sem_seg.data.cpu()
            equal, total = equal + int(same.sum()), total + same.numel()
        else:
            same = torch.equal(left.pred_label.cpu(), right.pred_label.cpu())
            equal, total = equal + int(same), total + 1
    return equal, total


def check_program(model: Any, inputs: Tensor) -> None:
    """Checks that a program can take a network's place.

    Args:
        model: The network, in evaluation.
        inputs: Preprocessed inputs to try it on.

    Raises:
        ValueError: The network does not run on these inputs alone, or its head returns more than a
            tensor, or predicts from more than that.
    """
    name = type(head_of(model) or model).__name__
    try:
        outputs = TensorMode(model)(inputs)
    except Exception as error:  # a library's network may raise anything
        raise ValueError(
            f'the network does not run on inputs {tuple(inputs.shape)} as a function of them '
            f'alone, with {name} as its head ({type(error).__name__}: {error}); if it is the size, '
            'give --shape'
        ) from error
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f'{name} returns {type(outputs).__name__}, no tensor; it cannot be exported'
        )
    served = with_program(model, TensorMode(model))
    equal, total = equal_labels(predictions(model, inputs), predictions(served, inputs))
    if equal < 0.999 * total:
        raise ValueError(
            f'{name} predicts from more than the output of its forward pass, {total - equal} of '
            f'{total} labels would be others; it cannot be exported'
        )


def _backbone(model: nn.Module) -> nn.Module:
    return getattr(model, 'backbone', None) or model
