import copy
import subprocess
import sys

import mmpretrain.models  # noqa: F401, registers
import onnx
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ssn_mm import SSN, set_radius
from ssn_mm.deploy import (
    TOLERANCES,
    OnnxProgram,
    TensorMode,
    export_onnx,
    export_program,
    fold,
    freeze,
    load_frozen,
    save_frozen,
)
from ssn_mm.layers import ssn_layers
from ssn_mm.ops import NORMALIZERS

SIZES = [(2, 3, 64, 64), (1, 3, 64, 64), (5, 3, 96, 80), (1, 3, 48, 32)]


def network(norm):
    backbone = dict(type='ResNet', depth=18, base_channels=8, norm_cfg=norm)
    head = dict(type='LinearClsHead', num_classes=5, in_channels=64)
    cfg = dict(
        type='ImageClassifier', backbone=backbone, neck=dict(type='GlobalAveragePooling'), head=head
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfg)


def trained(names=NORMALIZERS):
    """A pair of the normalizers in `names` in each layer, all pairs of four."""
    torch.manual_seed(0)
    model = network(dict(type='SSN', normalizers=NORMALIZERS, num_groups=4))
    for index, (_, layer) in enumerate(ssn_layers(model)):
        count = len(names)
        pair = [NORMALIZERS.index(names[i % count]) for i in (index, index // count)]
        layer.ratio_logits.data.copy_(torch.eye(len(NORMALIZERS))[pair])
        nn.init.uniform_(layer.weight, 0.5, 1.5), nn.init.normal_(layer.bias)
        layer.running_var.fill_(2)  # FBN's constants; BN's move
    set_radius(model, 1.0)
    model(torch.randn(SIZES[0]) + 1, mode='tensor')
    return model.eval()


@pytest.fixture(scope='module')
def deployed():
    model = freeze(trained())
    fold(TensorMode(model).eval(), torch.randn(SIZES[0]))
    return model


def outputs(model, x):
    with torch.no_grad():
        return TensorMode(model)(x)


@pytest.mark.exporter
@pytest.mark.parametrize(
    'export', [export_onnx, pytest.param(export_program, marks=pytest.mark.long)]
)
def test_a_program_exported_where_maps_end_as_one_pixel_takes_other_sizes(export, tmp_path):
    model = freeze(trained(('BN', 'LN')))
    file = tmp_path / 'model'
    export(model, torch.randn(2, 3, 32, 32), file)
    program = OnnxProgram(file) if export is export_onnx else torch.export.load(str(file)).module()
    for size in ((2, 3, 32, 32), *SIZES):
        x = torch.randn(size)
        torch.testing.assert_close(program(x), outputs(model, x), rtol=1e-4, atol=1e-5)


def test_the_program_takes_any_batch_and_size_and_holds_plain_operators(deployed, tmp_path):
    file = tmp_path / 'model.pt2'
    assert export_program(deployed, torch.randn(SIZES[0]), file) < 1e-5
    program = torch.export.load(str(file))
    for size in SIZES:
        x = torch.randn(size)
        torch.testing.assert_close(program.module()(x), outputs(deployed, x), rtol=1e-4, atol=1e-5)
    called = [n.target for n in program.graph.nodes if n.op == 'call_function']
    operators = [t for t in called if isinstance(t, torch._ops.OpOverload)]
    assert len(operators) > 50
    assert {t.namespace for t in operators} <= {'aten', 'prim'}


@pytest.mark.exporter
def test_onnx_takes_any_batch_and_size_and_holds_plain_operators(deployed, tmp_path):
    file = tmp_path / 'model.onnx'
    meta = dict(task='mmpretrain', classes=['a', 'ß'])
    assert export_onnx(deployed, torch.randn(SIZES[0]), file, meta) < 1e-5
    program = OnnxProgram(file)
    assert program.meta == meta | dict(precision='float32', preprocessing=None)
    for size in SIZES:
        x = torch.randn(size)
        torch.testing.assert_close(program(x), outputs(deployed, x), rtol=1e-4, atol=1e-5)
    proto = onnx.load(file)
    onnx.checker.check_model(proto, full_check=True)
    assert {node.domain for node in proto.graph.node} == {''}
    assert not proto.functions
    with pytest.raises(ValueError, match=r"takes \['.*', 3, .*\], got \(2, 4, 32, 32\)"):
        program(torch.randn(2, 4, 32, 32))


def test_torch_compile_takes_it_in_one_graph(deployed):
    compiled = torch.compile(TensorMode(deployed), fullgraph=True, backend='aot_eager')
    x = torch.randn(SIZES[0])
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), outputs(deployed, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    'export', [export_program, pytest.param(export_onnx, marks=pytest.mark.long)]
)
def test_a_program_whose_outputs_differ_is_not_written(export, deployed, tmp_path, monkeypatch):
    monkeypatch.setitem(TOLERANCES, 'float32', -1.0)
    with pytest.raises(ValueError, match=r'differ by .* so it is not written'):
        export(deployed, torch.randn(SIZES[0]), tmp_path / 'model')
    assert not list(tmp_path.iterdir())


def test_what_is_no_onnx_file_is_refused(tmp_path):
    file = tmp_path / 'model.onnx'
    with pytest.raises(FileNotFoundError, match=r'model\.onnx'):
        OnnxProgram(file)
    file.write_text('no')
    with pytest.raises(ValueError, match='not an ONNX file'):
        OnnxProgram(file)


def test_without_onnxruntime_the_error_says_what_to_install(monkeypatch, deployed, tmp_path):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ImportError, match=r"-m pip install 'ssn-mm\[onnx\]'"):
        export_onnx(deployed, torch.randn(SIZES[0]), tmp_path / 'model.onnx')


def save(model, file):
    """A frozen checkpoint, and what the network gives for an input."""
    x = torch.randn(SIZES[0])
    expected = outputs(model, x)
    names = [name for name, _ in ssn_layers(model)]
    frozen = freeze(model)
    save_frozen(frozen, {name: frozen.get_submodule(name) for name in names}, file)
    return x, expected


def test_a_frozen_checkpoint_loads_into_a_new_network(tmp_path):
    x, expected = save(trained(), tmp_path / 'model.pth')
    checkpoint = torch.load(tmp_path / 'model.pth', weights_only=True)
    for norm in (dict(type='SSN'), dict(type='BN')):
        loaded = load_frozen(network(norm), checkpoint)
        torch.testing.assert_close(outputs(loaded, x), expected, rtol=1e-4, atol=1e-5)


ALONE = """
import sys, torch
sys.modules['ssn_mm'] = None
from torch import nn

model = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)) for _ in range(3)))
{recipe}
x, expected = torch.load('example.pt')
torch.testing.assert_close(model.eval()(x), expected, rtol=1e-4, atol=1e-5)
print([type(part[1]).__name__ for part in model])
"""


def test_a_frozen_checkpoint_of_torch_modules_loads_without_this_package(tmp_path, request):
    """The recipe of docs/deploy.md rebuilds the network."""
    model = nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3), SSN(3)) for _ in range(3)))
    for index, (_, layer) in enumerate(ssn_layers(model)):
        layer.ratio_logits.data.copy_(torch.eye(3)[[index, index]])
    set_radius(model, 1.0)
    x = torch.randn(4, 3, 9, 9)
    model(x)
    torch.save((x, model.eval()(x).detach()), tmp_path / 'example.pt')
    frozen = freeze(model)
    save_frozen(frozen, {f'{i}.1': frozen[i][1] for i in range(3)}, tmp_path / 'model.frozen.pth')
    page = (request.config.rootpath / 'docs/deploy.md').read_text()
    recipe = page.split('<!-- without ssn_mm -->\n```python\n')[1].split('```')[0]
    done = subprocess.run(
        [sys.executable, '-c', ALONE.format(recipe=recipe)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "['InstanceNorm2d', 'GroupNorm', 'BatchNorm2d']\n", done.stderr


def test_a_checkpoint_that_is_not_frozen_or_of_another_network_is_refused(tmp_path):
    save(trained(), tmp_path / 'model.pth')
    checkpoint = torch.load(tmp_path / 'model.pth', weights_only=True)
    with pytest.raises(ValueError, match='not a checkpoint of a frozen network'):
        load_frozen(nn.Linear(2, 2), dict(state_dict={}))
    with pytest.raises(ValueError, match=r'the network has no layer backbone\.bn1'):
        load_frozen(nn.Linear(2, 2), checkpoint)
    hostile = copy.deepcopy(checkpoint)
    hostile['meta']['frozen']['backbone.bn1']['type'] = 'Module'
    with pytest.raises(ValueError, match=r"backbone\.bn1 is 'Module'; expected one of BatchNorm1d"):
        load_frozen(network(dict(type='BN')), hostile)
    del checkpoint['state_dict']['head.fc.bias']
    with pytest.raises(ValueError, match=r'(?s)of another network.*head\.fc\.bias'):
        load_frozen(network(dict(type='BN')), checkpoint)


@pytest.mark.parametrize('name', ['BN', 'IN'])
@pytest.mark.parametrize('tracked', [True, False])
def test_frozen_checkpoints_of_shared_and_untracked_layers_load_as_they_were(
    name, tracked, tmp_path
):
    def build():
        torch.manual_seed(0)
        norm = SSN(4, track_running_stats=tracked)
        return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Conv2d(4, 4, 3), norm)

    model, x = build(), torch.randn(4, 3, 9, 9)
    ((first, layer),) = ssn_layers(model)
    layer.ratio_logits.data.copy_(torch.eye(3)[[layer.normalizers.index(name)] * 2])
    set_radius(model, 1.0)
    model(x)
    expected = freeze(model.eval())(x)
    save_frozen(model, {first: model.get_submodule(first)}, tmp_path / 'f.pth')
    loaded = load_frozen(build(), torch.load(tmp_path / 'f.pth', weights_only=True))
    assert loaded[1] is loaded[3]
    torch.testing.assert_close(loaded(x), expected, rtol=0, atol=0)
