"""int8: what computes in integers, what it costs, and which layer is at fault."""

from collections import Counter

import pytest
import torch
from small_residual import BN, IN, SIZE, network, ratio, samples
from torch import nn

from ssn_mm.deploy import (
    OnnxProgram,
    OpenVinoProgram,
    export_onnx,
    export_openvino,
    losses_by_layer,
)
from ssn_mm.deploy.compare import check_file
from ssn_mm.deploy.precision import FileNetwork

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
pytestmark = pytest.mark.exporter


def content_of(model, tmp_path, **options):
    export_onnx(model, torch.randn(SIZE), tmp_path / 'model.onnx', **options)
    return (tmp_path / 'model.onnx').read_bytes()


def int8(model, tmp_path):
    return content_of(model, tmp_path, precision='int8', calibration=samples())


def kernels(content, tmp_path):
    """What onnxruntime runs of a program, by operator."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / 'kernels.onnx')
    options.log_severity_level = 3
    onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    return Counter(node.op_type for node in onnx.load(tmp_path / 'kernels.onnx').graph.node)


def test_a_network_of_batch_norm_is_of_integers_from_its_first_layer_to_its_last(tmp_path):
    model = network(BN, BN, BN)
    program = OnnxProgram(content := int8(model, tmp_path))
    found = kernels(content, tmp_path)
    assert found['QLinearConv'] == 3
    assert found['QLinearAdd'] == 1
    assert not {'Conv', 'Relu', 'Add', 'Gemm'} & found.keys()
    assert found['QuantizeLinear'] <= 2  # the input, and the mean over the map
    assert ratio(program, model) > 25
    assert program(torch.randn(3, 3, 40, 32)).shape == (3, 4)
    assert program.meta['precision'] == 'int8'


def test_norms_that_measure_stay_float32_and_only_their_neighbours_convert(tmp_path):
    model = network(BN, IN, (1, 0))
    content = int8(model, tmp_path)
    graph = onnx.load_from_string(content).graph
    producers = {out: node for node in graph.node for out in node.output}
    inside = [
        node
        for node in graph.node
        for entry in node.metadata_props
        if 'class_hierarchy' in entry.key and 'MixedNorm' in entry.value
    ]
    assert inside
    for node in inside:
        for one in (producers[own] for own in node.input if own in producers):
            # only what a convolution gives becomes float32 on its way into the norm
            if one.op_type == 'DequantizeLinear':
                assert producers[producers[one.input[0]].input[0]].op_type == 'Conv'
    assert kernels(content, tmp_path)['QLinearConv'] == 3
    assert ratio(OnnxProgram(content), model) > 20


def test_openvino_runs_it_as_onnxruntime_does(tmp_path):
    pytest.importorskip('openvino')
    model, options = network(BN, IN, BN), dict(precision='int8', calibration=samples())
    export_openvino(model, torch.randn(SIZE), tmp_path / 'model.xml', **options)
    program = OpenVinoProgram(tmp_path / 'model.xml')
    assert program.meta['precision'] == 'int8'
    assert ratio(program, model) > 20
    assert 'FakeQuantize' in (tmp_path / 'model.xml').read_text()


@torch.no_grad()
def with_outlier(model, factor):
    """Has one channel between the block's convolutions dwarf the others, which alone are read."""
    block = model[4]
    block.conv1.weight[0] *= factor
    block.conv1.bias[0] = factor
    block.conv2.weight *= 20
    block.conv2.weight[:, 0] = 0
    return model


def test_the_layer_at_fault_comes_first(tmp_path):
    content = content_of(with_outlier(network(BN, BN, BN), 30), tmp_path)
    losses = losses_by_layer(content, samples())
    assert next(iter(losses.alone)) in ('4.conv1', '4.conv2')
    assert set(losses.alone) == {'0', '4.conv1', '4.conv2', '7'}
    assert list(losses.alone.values()) == sorted(losses.alone.values())
    assert losses.together < min(losses.alone.values()) + 1
    assert f'{losses.together:.1f} dB' in str(losses)


def test_losses_name_the_norm_that_a_layer_feeds(tmp_path):
    losses = losses_by_layer(content_of(network(BN, IN, BN), tmp_path), samples(2))
    assert losses.norms == {'4.conv1': '4.norm1'}


def test_outputs_that_int8_spoils_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r'ONNX program differ by .* accepted in int8'):
        int8(with_outlier(network(BN, BN, BN), 1e5), tmp_path)
    assert not list(tmp_path.iterdir())


def test_another_size_is_compared_within_the_ranges_of_the_calibration(tmp_path):
    slopes = nn.Conv2d(1, 2, 3, bias=False)
    kernel = torch.tensor([-1.0, 0, 1]).expand(3, 3)
    slopes.weight.data = torch.stack([kernel, kernel.T]).unsqueeze(1)
    ramps = [(torch.arange(32.0) * n / 32).expand(1, 1, 32, 32) for n in (-1, 1, 0.5)]
    ramps += [ramp.mT for ramp in ramps]  # of two copies side by side the border is a step
    model = nn.Sequential(slopes, nn.ReLU()).eval()
    file, inputs = tmp_path / 'model.onnx', torch.cat(ramps[:2])
    export_onnx(model, inputs, file, precision='int8', calibration=ramps)
    assert OnnxProgram(file)(ramps[0][..., :21]).shape == (1, 2, 30, 19)


class Attention(nn.Module):
    """A mean weighted by a softmax over the pixels: of half of these each weighs twice."""

    def __init__(self):
        super().__init__()
        self.weigh, self.head = nn.Conv2d(3, 1, 1), nn.Linear(3, 4)
        nn.init.constant_(self.weigh.weight, 1e-3)

    def forward(self, x):
        weights = self.weigh(x).flatten(1).softmax(1).unsqueeze(-1)
        return self.head((x.flatten(2) @ weights).squeeze(-1))


def test_another_size_is_no_reason_to_refuse_int8(tmp_path):
    torch.manual_seed(0)
    pictures = [torch.randn(1, 3, 32, 32) + i % 3 for i in range(8)]
    model = Attention().eval()
    export_onnx(
        model, torch.cat(pictures[:2]), tmp_path / 'm.onnx', precision='int8', calibration=pictures
    )
    found = torch.cat([OnnxProgram(tmp_path / 'm.onnx')(x) for x in pictures])
    expected = torch.cat([model(x) for x in pictures])
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()


def test_int8_that_does_not_run_at_another_size_is_refused():
    model = nn.Sequential(nn.Conv2d(3, 4, 1)).eval()
    own = FileNetwork(model, 'int8', calibration=[torch.randn(1, 3, 8, 8)])

    def program(x):
        if x.shape[-1] != 8:
            raise RuntimeError('8 pixels alone')
        return model(x)

    told = (
        r'does not run on inputs \(1, 3, 15, 16\) here: RuntimeError: 8 pixels alone, so it is not'
    )
    with pytest.raises(ValueError, match=told):
        check_file(program, own, torch.randn(2, 3, 8, 8), 'the program')


def test_grouped_transposed_convolutions_stay_float32(tmp_path):
    layers = nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 8, 2, groups=2)
    model = nn.Sequential(*layers).eval()
    found = kernels(int8(model, tmp_path), tmp_path)
    assert found['QLinearConv'] == found['ConvTranspose'] == 1


@pytest.mark.parametrize(
    ('given', 'error', 'told'),
    [
        (None, ValueError, 'inputs such as the network will see, and there is none'),
        ([], ValueError, 'inputs such as the network will see, and there is none'),
        (['picture.png'], TypeError, 'inputs as tensors, got str'),
        ([torch.full(SIZE, torch.nan)], ValueError, 'NaN or infinite'),
        ([torch.randn(2, 5, 24, 24)], ValueError, r'takes .*3.*, got \(2, 5, 24, 24\)'),
    ],
)
def test_samples_that_cannot_calibrate_are_refused(given, error, told, tmp_path):
    with pytest.raises(error, match=told):
        content_of(network(BN, BN, BN), tmp_path, precision='int8', calibration=given)
    assert not list(tmp_path.iterdir())


def test_a_network_without_layers_to_compute_is_refused(tmp_path):
    with pytest.raises(ValueError, match='has none of Conv, ConvTranspose, Gemm, MatMul'):
        int8(nn.Sequential(nn.ReLU()).eval(), tmp_path)
    assert not list(tmp_path.iterdir())
