"""Time training steps of whole networks: python tools/benchmarks/bench_train_step.py"""

import argparse
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import ssn_mm.cli  # repairs OpenMMLab or says what it lacks, so before it

# isort: split
import mmaction.models  # noqa: F401, registers
import mmpretrain.models  # noqa: F401
import mmseg.models  # noqa: F401
import torch
from _cases import check_positive, parse, time_cases
from _competitors import (
    AUTHORS,
    COMPETING_RADIUS,
    ROOT,
    SELECTED_RADIUS,
    WITH_FBN,
    AuthorsFormula,
    arrange,
    named_competitors,
)
from mmaction.structures import ActionDataSample
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from ssn_mm.cli.tool import run_tool
from ssn_mm.contestants import find_contestant
from ssn_mm.layers import ssn_layers
from ssn_mm.timing.rounds import Competitor

MODELS.register_module(name='_AuthorsFormula', module=AuthorsFormula)
SCOPES = dict(resnet50='mmpretrain', resnet101='mmpretrain', deeplab='mmseg', i3d='mmaction')
SCOPES['digits'] = 'mmpretrain'
IMAGES = dict(
    resnet50=8, deeplab=2, i3d=2, digits=32
)  # what two CPU cores step through in a second or two
SIZES = dict(resnet50=128, deeplab=128, i3d=112, digits=32)
FRAMES = 8
CLASSES = dict(resnet50=1000, resnet101=1000, deeplab=150, i3d=400, digits=10)
SMOKE = dict(images=1, size=64, width=32)
SMOKE['competitors'] = ['BN', 'GN', 'SSN competing', 'SSN selected BN', AUTHORS]  # a kind each


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Time one training step (forward, loss, backward, SGD with momentum) of '
        'networks that differ in their normalization only, and its peak memory, relative to batch '
        "norm. Setting SSN's radius and keeping what it selected belongs to its step, and is the "
        "phase 'selection'. Weights, momentum and data lie in memory before; the peak is what a "
        'step adds to them.'
    )
    parser.add_argument(
        '--models',
        nargs='+',
        default=list(IMAGES),
        choices=list(IMAGES),
        help='ResNet-50 with a classifier, DeepLab and I3D on it, and the small ResNet of the demo '
        'on digits (default: all)',
    )
    parser.add_argument(
        '--images', type=int, help=f'images, or clips of {FRAMES} frames (default: 8, 2, 2, 32)'
    )
    parser.add_argument(
        '--size', type=int, help='height and width in pixels (default: 128, 128, 112, 32)'
    )
    parser.add_argument(
        '--width',
        type=int,
        default=64,
        help="channels of the first stage (default: 64, the paper's)",
    )
    parser.add_argument(
        '--without-onednn',
        action='store_true',
        help='have each competitor take part twice, a second time without oneDNN (on a CPU)',
    )
    args = parse(parser, rounds=5, seconds=120.0, smoke=SMOKE)
    check_positive(parser, args, 'images', 'size', 'width')
    return args


def model_config(model: str, width: int) -> dict[str, Any]:
    """Config of a network without its normalization; ``width`` is the first stage's channels."""
    if model == 'digits':
        demo = Config.fromfile(ROOT / 'configs' / 'demo' / '_resnet_digits_.py').model
        demo.backbone.update(base_channels=width // 4, stem_channels=width // 4)
        demo.head.in_channels = width
        return demo
    depth = 101 if model == 'resnet101' else 50
    resnet = dict(depth=depth, base_channels=width, norm_eval=False)
    if model.startswith('resnet'):
        head = dict(type='LinearClsHead', num_classes=CLASSES[model], in_channels=32 * width)
        return dict(
            type='ImageClassifier',
            backbone=dict(type='ResNet', **resnet),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(**head, loss=dict(type='CrossEntropyLoss')),
        )
    if model == 'i3d':
        inflate = ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))
        backbone = dict(type='ResNet3d', conv_cfg=dict(type='Conv3d'), inflate=inflate, **resnet)
        backbone.update(conv1_kernel=(5, 7, 7), conv1_stride_t=2, pool1_stride_t=2)
        backbone.update(pretrained=None, pretrained2d=False, zero_init_residual=False)
        head = dict(type='I3DHead', num_classes=CLASSES[model], in_channels=32 * width)
        head.update(dropout_ratio=0)
        return dict(type='Recognizer3D', backbone=backbone, cls_head=head)
    deeplab = Config.fromfile(ROOT / 'configs' / '_base_' / 'models' / 'deeplab_r50.py').model
    deeplab.backbone.base_channels = width
    deeplab.decode_head.update(in_channels=32 * width, channels=8 * width)
    deeplab.auxiliary_head.update(in_channels=16 * width, channels=4 * width)
    return deeplab


def build_model(model: str, norm: str, width: int, seed: int) -> BaseModel:
    """A network in training; the seed gives all of one kind the same weights."""
    cfg = model_config(model, width)
    norm_cfg = dict(type='SSN' if norm.startswith('SSN ') else '_AuthorsFormula')
    if norm == 'SSN selected FBN':
        norm_cfg['normalizers'] = WITH_FBN
    if not norm.startswith('SSN ') and norm != AUTHORS:
        norm_cfg = find_contestant(norm).config(3 if model == 'i3d' else 2)
    for part in ('backbone', 'decode_head', 'auxiliary_head'):
        if part in cfg:
            cfg[part]['norm_cfg'] = dict(norm_cfg)
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope(SCOPES[model]):
        built = MODELS.build(cfg)
    built.init_weights()
    return built.train()


def make_batch(case: Mapping[str, Any], device: str, seed: int) -> dict[str, Any]:
    """Random images and labels, as the network's forward method takes them."""
    generator = torch.Generator().manual_seed(seed)
    model, images, size = case['model'], case['images'], case['size']
    clips = (1,) if model == 'i3d' else ()
    inputs = torch.randn((images, *clips, 3, *size), generator=generator)
    per_pixel = size if model == 'deeplab' else ()
    labels = torch.randint(CLASSES[model], (images, 1, *per_pixel), generator=generator).to(device)
    if model == 'deeplab':
        samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    else:
        kind = ActionDataSample if model == 'i3d' else DataSample
        samples = [kind().set_gt_label(label) for label in labels]
    return dict(inputs=inputs.to(device), data_samples=samples, mode='loss')


def training_step(
    model: BaseModel, batch: Mapping[str, Any], radius: float, backend: str | None, onednn: bool
) -> Competitor:
    """One step; gradients are freed at its end, so that who waits for its turn holds none."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    held: dict[str, torch.Tensor] = {}
    layers = [layer for _, layer in ssn_layers(model)]  # the hook holds them, too

    def kernels() -> AbstractContextManager[None]:
        return nullcontext() if onednn else torch.backends.mkldnn.flags(enabled=False)

    def forward() -> None:
        with kernels():
            held['loss'], _ = model.parse_losses(model(**batch))

    def backward() -> None:
        with kernels():
            held.pop('loss').backward()

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    def selection() -> None:
        ssn_mm.keep_selected(layers)
        ssn_mm.set_radius(layers, radius)  # of the next step

    phases = dict(forward=forward, backward=backward, update=update, selection=selection)
    return Competitor(phases, backend=backend)


def build(case: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Competitor | str]:
    """One network a competitor, all with the same weights and data."""
    batch = make_batch(case, args.device, args.seed)

    def compete(name: str, backend: str | None, onednn: bool = True) -> Competitor | str:
        try:
            model = build_model(case['model'], name, args.width, args.seed).to(args.device)
            arrange(model, name)
            if backend is None:
                with torch.no_grad():
                    model(**batch)  # raises where a map does not suit the norm
        except ValueError as error:
            return str(error)
        radius = COMPETING_RADIUS if name == 'SSN competing' else SELECTED_RADIUS
        return training_step(model, batch, radius, backend, onednn)

    found = named_competitors(args, compete)
    if args.without_onednn:
        others = named_competitors(args, partial(compete, onednn=False))
        found |= {f'{name} without oneDNN': own for name, own in others.items()}
    return found


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel(
        'WARNING'
    )  # else it logs how every weight was initialized
    cases = [
        dict(
            model=model,
            images=args.images or IMAGES[model],
            size=[FRAMES] * (model == 'i3d') + [args.size or SIZES[model]] * 2,
            channels=args.width // 4 if model == 'digits' else args.width,
        )
        for model in args.models
    ]
    time_cases(args, cases, lambda case: build(case, args), groups=('model',))


if __name__ == '__main__':
    run_tool(main)
