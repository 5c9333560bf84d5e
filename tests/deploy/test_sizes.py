"""Files take any batch and size that their network takes, in every form and precision."""

import functools

import pytest
import torch
from narrow import narrow
from torch import nn

from ssn_mm import set_radius
from ssn_mm.deploy import OnnxProgram, OpenVinoProgram, TensorMode, TorchProgram, fold, freeze
from ssn_mm.deploy.export import onnx_files, openvino_files, program_files
from ssn_mm.deploy.networks import build_network
from ssn_mm.deploy.precision import TOLERANCES, FileNetwork
from ssn_mm.layers import ssn_layers

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxscript')
pytest.importorskip('openvino')
pytestmark = [pytest.mark.exporter, pytest.mark.mmaction]
PICTURES = [(2, 3, 64, 64), (1, 3, 64, 64), (3, 3, 51, 77), (1, 3, 97, 40)]
SIZES = {  # of the export, then others: one sample, odd sizes, smaller and larger ones, short clips
    'resnet': PICTURES,
    'deeplab': PICTURES,
    'torchvision': PICTURES,
    'i3d': [(2, 2, 3, 8, 32, 32), (1, 1, 3, 8, 32, 32), (1, 3, 3, 4, 51, 37), (3, 1, 3, 2, 64, 64)],
}
FORMS = {
    TorchProgram: program_files,
    OnnxProgram: onnx_files,
    OpenVinoProgram: openvino_files,
}


@functools.cache
def folded(name):
    """A network in which mean and variance have selected all pairs of normalizers, folded."""
    torch.manual_seed(0)
    if name == 'torchvision':
        model = pytest.importorskip('torchvision').models.resnet18(num_classes=5).eval()
    else:
        model = build_network(narrow(name))
        for index, (_, layer) in enumerate(ssn_layers(model)):
            layer.ratio_logits.data.copy_(torch.eye(3)[[index % 3, index // 3 % 3]])
            nn.init.uniform_(layer.weight, 0.5, 1.5), nn.init.normal_(layer.bias)
        set_radius(model, 1.0)
    example = torch.randn(SIZES[name][0])
    with torch.no_grad():
        TensorMode(model)(example)
        if name != 'torchvision':
            freeze(model)
        fold(TensorMode(model).eval(), example)
    return model


def cases():
    for name in SIZES:
        for precision in ('float32', 'float16', 'bfloat16'):
            # float16 stands for both where time is short
            quick = (name, precision) in [('deeplab', 'float16'), ('i3d', 'float32')]
            yield pytest.param(name, precision, marks=[] if quick else pytest.mark.long)


@pytest.mark.parametrize(('name', 'precision'), cases())
def test_files_take_any_batch_and_size(name, precision, tmp_path):
    network = FileNetwork(folded(name), precision)
    example, out = torch.randn(SIZES[name][0]), tmp_path / 'model.xml'
    programs = []
    for program, export in FORMS.items():
        if (program, precision) != (OnnxProgram, 'bfloat16'):
            contents = tuple(export(network, example, out)[0].values())
            programs.append(program(contents[0] if len(contents) == 1 else contents))
    for size in SIZES[name]:
        x = torch.randn(size)
        with torch.no_grad():
            expected = network.in_float32()(x)
        for program in programs:
            found = program(x)
            assert found.shape == expected.shape
            difference = ((found - expected).abs().max() / expected.abs().max()).item()
            what = f'{type(program).__name__} at {size}: {difference:.1e}'
            assert difference < TOLERANCES[precision], what


def test_what_a_runtime_says_names_the_layer(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    contents, _ = onnx_files(FileNetwork(model), torch.randn(2, 3, 8, 8), tmp_path / 'model.xml')
    proto = onnx.load_from_string(*contents.values())
    names = [node.name.partition('/')[0] for node in proto.graph.node]
    assert names == ['0', '1', '2']
    (kernel,) = (t for t in proto.graph.initializer if t.dims == [4, 3, 1, 1])
    kernel.dims[:] = [4, 1, 3, 1]  # that no longer fits
    with pytest.raises(ValueError, match=r"Name:'[01]/"):
        OnnxProgram(proto.SerializeToString())(torch.randn(1, 3, 8, 8))
