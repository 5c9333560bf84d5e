"""What a runtime lacks, and files that cannot be written, leave what was there."""

import pytest
import torch
from narrow import narrow
from torch import nn

from ssn_mm import files, set_radius
from ssn_mm.cli import deploy as deploying
from ssn_mm.cli.deploy import Wanted, deploy
from ssn_mm.deploy import (
    OpenVinoProgram,
    export,
    export_onnx,
    export_openvino,
    export_program,
)
from ssn_mm.deploy.networks import build_network
from ssn_mm.layers import ssn_layers

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxscript')
pytest.importorskip('openvino')
pytestmark = pytest.mark.exporter
INPUTS = torch.randn(2, 3, 8, 8)


def network(value=1.0):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.constant_(model[0].weight, value)
    nn.init.zeros_(model[0].bias)
    return model.eval()


def with_operator(domain, kind):
    """A program with one operator, in the place of what PyTorch exports."""
    info, floats = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    node = onnx.helper.make_node(kind, ['inputs'], ['outputs'], domain=domain, name='layer4')
    shape = ('n', 3, 'h', 'w')
    ends = [[info(name, floats, shape)] for name in ('inputs', 'outputs')]
    opsets = [onnx.helper.make_opsetid('', 18), onnx.helper.make_opsetid('other', 1)]
    graph = onnx.helper.make_graph([node], 'g', *ends)
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


@pytest.mark.parametrize('form', [export_onnx, export_openvino])
def test_an_operator_that_a_runtime_lacks_is_named_and_nothing_is_written(
    form, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, 'as_onnx', lambda *_: with_operator('other', 'Strange'))
    with pytest.raises(ValueError, match=r'other[.:]Strange'):
        form(network(), INPUTS, tmp_path / 'model.xml')
    assert not list(tmp_path.iterdir())


def test_openvino_s_files_are_both_new_or_both_old(tmp_path, monkeypatch):
    file = tmp_path / 'model.xml'
    export_openvino(network(1.0), INPUTS, file)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before) == 2
    moved = []

    def second_fails(source, place):
        moved.append(place)
        if len(moved) == 2:
            raise OSError(28, 'No space left on device')
        original(source, place)

    original = files.replace
    monkeypatch.setattr(files, 'replace', second_fails)
    with pytest.raises(OSError, match=r'cannot write .*model\.xml and .*model\.bin: No space left'):
        export_openvino(network(2.0), INPUTS, file)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert len(moved) == 3  # the first was put back
    monkeypatch.undo()
    export_openvino(network(2.0), INPUTS, file)
    torch.testing.assert_close(OpenVinoProgram(file)(INPUTS), network(2.0)(INPUTS).detach())


def test_files_of_two_exports_are_not_run_together(tmp_path):
    for name, value in (('one', 1.0), ('two', 2.0)):
        export_openvino(network(value), INPUTS, tmp_path / f'{name}.xml')
    (tmp_path / 'two.bin').replace(tmp_path / 'one.bin')
    with pytest.raises(ValueError, match=r'one\.xml and the \.bin beside it are of two exports'):
        OpenVinoProgram(tmp_path / 'one.xml')


@pytest.mark.parametrize('form', [export_program, export_onnx, export_openvino])
def test_a_program_for_one_size_of_a_network_for_all_is_not_written(form, tmp_path, monkeypatch):
    monkeypatch.setattr(export, 'dynamic_sizes', lambda inputs: None)
    with pytest.raises(ValueError, match=r'does not run on inputs \(1, 3, 8, 8\).*not written'):
        form(network(), INPUTS, tmp_path / 'model.xml')
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    model = build_network(narrow('resnet'))
    for _, layer in ssn_layers(model):
        layer.ratio_logits.data.copy_(torch.eye(3)[[2, 2]])
    set_radius(model, 1.0)
    file = tmp_path_factory.mktemp('trained') / 'w.pth'
    torch.save(dict(state_dict=model.state_dict()), file)
    return str(file)


def test_a_runtime_without_the_precision_is_told_before_anything_is_written(checkpoint, tmp_path):
    wanted = Wanted(tmp_path / 'm.onnx', precision='bfloat16')
    with pytest.raises(ValueError, match='onnxruntime cannot run bfloat16 here, nothing is writ'):
        deploy(narrow('resnet'), checkpoint, tmp_path / 'm.pt2', (32, 32), wanted=wanted)
    assert not list(tmp_path.iterdir())


def test_programs_are_written_all_or_none(checkpoint, tmp_path, monkeypatch):
    """The frozen checkpoint, which is no program, is there; earlier programs stay."""
    given = []

    def exported(network, inputs, out, meta):
        given.append((inputs, meta))
        return {out: b'new'}, 0.0

    def differs(*_):
        raise ValueError('outputs of the OpenVINO program differ')

    exports = dict(program=exported, onnx=exported, openvino=differs)
    monkeypatch.setattr(deploying, '_EXPORTS', exports)
    (tmp_path / 'm.onnx').write_bytes(b'old')
    wanted = Wanted(tmp_path / 'm.onnx', tmp_path / 'm.xml', preprocess=True)
    with pytest.raises(ValueError, match='OpenVINO program differ'):
        deploy(narrow('resnet'), checkpoint, tmp_path / 'm.pt2', (32, 32), wanted=wanted)
    assert (tmp_path / 'm.onnx').read_bytes() == b'old'
    assert sorted(f.name for f in tmp_path.iterdir()) == ['m.frozen.pth', 'm.onnx']
    (inputs, meta), _ = given
    assert inputs.abs().max() > 100  # pixels
    assert meta['task'] == 'classification'


def test_a_processor_without_float16_is_told(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(deploying, 'computes_in', lambda _: 'float32')
    monkeypatch.setattr(deploying, 'trained_network', lambda *_: 1 / 0)
    wanted = Wanted(openvino=tmp_path / 'm.xml', precision='float16')
    with pytest.raises(ZeroDivisionError):
        deploy(narrow('resnet'), checkpoint, tmp_path / 'm.pt2', (32, 32), wanted=wanted)
    said = 'OpenVINO has no float16 on this processor: it keeps the weights in it and computes in'
    assert f'{said} float32.' in capsys.readouterr().out


@pytest.mark.parametrize('name', ['model.bin', 'model.onnx', 'model'])
def test_openvino_writes_an_xml_file_and_nothing_else(name, tmp_path):
    with pytest.raises(ValueError, match=rf"name the .xml, got '.*{name}'"):
        export_openvino(network(1.0), INPUTS, tmp_path / name)
    assert not list(tmp_path.iterdir())
