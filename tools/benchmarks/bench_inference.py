"""Time networks as they are deployed: python tools/benchmarks/bench_inference.py"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _cases import check_positive, parse, time_cases
from _competitors import arrange
from bench_train_step import build_model
from mmengine.logging import MMLogger
from torch import Tensor, nn

from ssn_mm.cli.tool import run_tool
from ssn_mm.deploy import (
    OnnxProgram,
    OpenVinoProgram,
    TensorMode,
    export_onnx,
    export_openvino,
    fold,
    freeze,
)
from ssn_mm.layers import SSN
from ssn_mm.timing.rounds import Competitor

NETWORKS = ('BN', 'IN', 'LN', 'GN', 'SN', 'SSN figure 5', 'SSN selected BN')
EXPORTED = ('BN', 'LN', 'SSN figure 5', 'SSN selected BN')
RUNTIMES = {
    'onnx': (export_onnx, OnnxProgram, 'network.onnx'),
    'openvino': (export_openvino, OpenVinoProgram, 'network.xml'),
}
IMAGES = dict(resnet50=(32, 1), resnet101=(32, 1), deeplab=(1,), i3d=(1,))
SIZES = dict(resnet50=224, resnet101=224, deeplab=450, i3d=224)
SMOKE = dict(models=['resnet50', 'i3d'], images=[2], size=64, width=32)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Table 3: time the forward pass of networks that differ in their normalization '
        'only, as tools/deploy.py leaves them: frozen and folded, run by PyTorch, by onnxruntime, '
        '[onnx], by OpenVINO, [openvino], and as torch.compile makes them, [compile]. Every batch '
        "norm is folded into its convolution; IN, LN and GN overwrite the convolution's output; SN "
        "cannot be frozen: it runs on this package's compiled kernels and, [cpu], on PyTorch's "
        'operators alone, as the others do. '
        'Weights and statistics are random.'
    )
    parser.add_argument(
        '--models',
        nargs='+',
        default=list(IMAGES),
        choices=list(IMAGES),
        help='ResNets with a classifier, DeepLab and I3D on ResNet-50 (default: all)',
    )
    parser.add_argument(
        '--images',
        type=int,
        nargs='+',
        help='images, or clips, a batch (default: 32 and 1 for the ResNets, 1 for the others)',
    )
    parser.add_argument(
        '--size', type=int, help='height and width in pixels (default: 224, DeepLab 450)'
    )
    parser.add_argument('--frames', type=int, default=32, help='of a clip (default: 32)')
    parser.add_argument(
        '--width',
        type=int,
        default=64,
        help="channels of the first stage (default: 64, the paper's)",
    )
    parser.add_argument(
        '--runtimes',
        nargs='*',
        default=list(RUNTIMES),
        choices=[*RUNTIMES, 'compile'],
        help='what runs networks besides PyTorch (default: onnx and openvino; none where nothing '
        'follows)',
    )
    smoke = SMOKE | dict(frames=8)
    args = parse(parser, rounds=5, seconds=60.0, smoke=smoke, layers=False)
    check_positive(parser, args, 'size', 'frames', 'width')
    return args


def build_network(model: str, norm: str, inputs: Tensor, width: int, seed: int) -> nn.Module:
    """A network as it is deployed, its BN with random statistics, as if trained."""
    network = build_model(model, norm, width, seed).eval()
    for module in network.modules():
        if getattr(module, 'running_mean', None) is not None:
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    arrange(network, norm)
    function = TensorMode(network).eval()
    function(inputs)
    if any(isinstance(module, SSN) for module in network.modules()):
        freeze(network)
    fold(function, inputs)
    return network


def run_by(runtime: str, network: nn.Module, inputs: Tensor) -> Callable[[Tensor], Tensor]:
    """A network as another runtime runs it, or as torch.compile makes it."""
    if runtime == 'compile':
        return torch.compile(TensorMode(network), dynamic=False)
    export, program, name = RUNTIMES[runtime]
    with tempfile.TemporaryDirectory() as folder:
        export(network, inputs, Path(folder) / name)
        return program(Path(folder) / name)


def compete(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Competitor:
    return Competitor(dict(forward=torch.no_grad()(partial(function, inputs))))


@torch.no_grad()
def build(case: Mapping[str, Any], args: argparse.Namespace) -> dict[str, Competitor]:
    """A network a competitor, all with the same weights of convolutions and inputs."""
    model, images = case['model'], case['images']
    clips = (2,) if model == 'i3d' else ()
    generator = torch.Generator().manual_seed(args.seed)
    two = torch.randn((2, *clips, 3, *case['size']), generator=generator)
    inputs = torch.randn((images, *(1 for _ in clips), 3, *case['size']), generator=generator)
    inputs = inputs.to(args.device)
    found, exported = {}, {}
    torch.compiler.reset()  # which after some networks would leave others as they are
    for norm in NETWORKS:
        network = build_network(model, norm, two, args.width, args.seed)
        for runtime in args.runtimes if norm in EXPORTED else ():
            exported[f'{norm} [{runtime}]'] = compete(run_by(runtime, network, two), inputs)
        found[norm] = compete(TensorMode(network.to(args.device)), inputs)
        if norm == 'SN' and args.device == 'cpu':
            found['SN [cpu]'] = replace(found[norm], backend='cpu')
    return found | exported


def cases(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for model in args.models:
        for images in args.images or IMAGES[model]:
            size = [args.frames] * (model == 'i3d') + [args.size or SIZES[model]] * 2
            yield dict(model=model, images=images, size=size, channels=args.width)


def main() -> None:
    args = parse_args()
    MMLogger.get_current_instance().setLevel(
        'WARNING'
    )  # else it logs how every weight was initialized
    time_cases(
        args,
        list(cases(args)),
        lambda case: build(case, args),
        groups=('model', 'images'),
        baselines=('BN', 'SN', 'SN [cpu]'),
        unseen=tuple(f'BN [{name}]' for name in args.runtimes),
        memory=False,
    )


if __name__ == '__main__':
    run_tool(main)
