"""Norms as ONNX: each pair of normalizers is what PyTorch computes, at any mean."""

import itertools

import onnx
import pytest
import torch
from torch import nn

from ssn_mm.deploy import OnnxProgram, OpenVinoProgram, export_onnx, export_openvino
from ssn_mm.deploy.onnx_norms import norms_as_operators
from ssn_mm.layers import MixedNorm

pytest.importorskip('onnxscript')
pytestmark = pytest.mark.exporter
NAMES = ('IN', 'LN', 'BN', 'GN')
PAIRS = list(itertools.product(NAMES, NAMES))


class Side(nn.Module):
    """Norms of one map beside each other; outputs (N, norms, ...).

    Args:
        norms: The norms.
        shaped: What makes the map of the input (N, C, H, W).
    """

    def __init__(self, norms, shaped=lambda x: x):
        super().__init__()
        self.norms, self.shaped = nn.ModuleList(norms), shaped

    def forward(self, x):
        x = self.shaped(x)
        return torch.stack([norm(x) for norm in self.norms], 1)


def mixed(mean, var, **options):
    norm = MixedNorm(8, mean, var, eps=1e-3, num_groups=2, **options)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    norm.running_mean.normal_(), norm.running_var.uniform_(0.5, 2)
    return norm.eval()


def norms():
    torch.manual_seed(0)
    averaged = mixed(('IN', 'LN'), ('GN', 'BN', 'BN'))
    unbiased = [mixed(name, name, correction=1) for name in ('IN', 'LN', 'GN')]
    return [*(mixed(*pair) for pair in PAIRS), averaged, *unbiased]


def stock():
    torch.manual_seed(0)
    shared = [nn.GroupNorm(groups, 8, eps=1e-3) for groups in (1, 2, 8)]
    plain = [nn.GroupNorm(groups, 8, affine=False) for groups in (1, 4)]
    return [*shared, *plain, nn.InstanceNorm2d(8, affine=True), nn.InstanceNorm2d(8)]


def reference(network, x):
    with torch.no_grad():
        return network.double()(x.double())


SHAPES = [lambda x: x.flatten(2), lambda x: x, lambda x: torch.stack([x, 2 * x + 1], 2)]


@pytest.mark.parametrize('shaped', SHAPES, ids=['1d', '2d', '3d'])
def test_every_pair_is_what_pytorch_computes(shaped, tmp_path):
    network, file = Side(norms(), shaped).eval(), tmp_path / 'norms.onnx'
    export_onnx(network, torch.randn(2, 8, 8, 10), file)
    onnx.checker.check_model(onnx.load(file), full_check=True)
    x = 3 * torch.randn(3, 8, 4, 5) + 1
    found, expected = OnnxProgram(file)(x), reference(network, x)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_maps_without_area_are_normalized_over_channels(tmp_path):
    pairs = [mixed(*pair) for pair in PAIRS if 'IN' not in pair]
    network = Side(pairs, lambda x: x.mean((2, 3))).eval()
    export_onnx(network, torch.randn(4, 8, 6, 6), tmp_path / 'norms.onnx')
    x = torch.randn(4, 8, 3, 3) + 1
    found = OnnxProgram(tmp_path / 'norms.onnx')(x)
    torch.testing.assert_close(found.double(), reference(network, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('runtime', ['onnxruntime', 'openvino'])
def test_variances_keep_their_digits_at_a_large_mean(runtime, tmp_path):
    if runtime == 'openvino':
        pytest.importorskip('openvino')
    measured = [pair for pair in PAIRS if 'BN' not in pair]
    network = Side([*(mixed(*pair) for pair in measured), *stock()]).eval()
    ends = {'onnxruntime': 'onnx', 'openvino': 'xml'}
    file = tmp_path / f'norms.{ends[runtime]}'
    export = export_onnx if runtime == 'onnxruntime' else export_openvino
    program = OnnxProgram if runtime == 'onnxruntime' else OpenVinoProgram
    export(network, torch.randn(2, 8, 16, 16), file)
    x = torch.randn(2, 8, 32, 32) + 1e4
    # float32 has 7 digits: of a mean of 1e4 and a deviation of 1, three are left
    torch.testing.assert_close(program(file)(x).double(), reference(network, x), rtol=0, atol=6e-3)


def test_a_runtimes_own_kernels_are_asked_for(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 8, 1), mixed('IN', 'IN'), mixed('GN', 'GN')).eval()
    export_onnx(network, torch.randn(2, 3, 8, 8), tmp_path / 'norms.onnx')
    kinds = [node.op_type for node in onnx.load(tmp_path / 'norms.onnx').graph.node]
    assert kinds.count('InstanceNormalization') == 2
    assert 'ReduceMean' not in kinds


def test_a_network_runs_as_before_after_its_export():
    network = Side(stock())
    x = torch.randn(2, 8, 4, 4)
    before = network(x)
    with pytest.raises(RuntimeError, match='inside'), norms_as_operators(network):
        raise RuntimeError('inside')
    torch.testing.assert_close(network(x), before, rtol=0, atol=0)
    assert not any('forward' in vars(norm) for norm in network.norms)


@pytest.mark.parametrize('pair', [('IN', 'LN'), ('LN', 'BN'), ('BN', 'GN'), ('GN', 'LN')])
def test_openvino_gives_samples_of_a_batch_in_int8_what_it_gives_each_alone(pair, tmp_path):
    """It reuses memory of small maps that are reshaped; the moments here are not, or not so."""
    pytest.importorskip('openvino')
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU()]
    for _ in range(3):
        layers += [nn.Conv2d(8, 8, 3, padding=1), mixed(*pair), nn.ReLU()]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    samples = [torch.randn(1, 3, 12, 12) * (1 + i / 4) + i / 8 for i in range(8)]
    options = dict(precision='int8', calibration=samples)
    export_openvino(network, torch.randn(2, 3, 12, 12), tmp_path / 'model.xml', **options)
    program = OpenVinoProgram(tmp_path / 'model.xml')
    alone = torch.cat([program(x) for x in samples])
    torch.testing.assert_close(program(torch.cat(samples)), alone, rtol=0, atol=1e-5)
