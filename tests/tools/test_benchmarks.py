import importlib
import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from ssn_mm.cli.config import load_config
from ssn_mm.cli.tool import run_tool as run_as_tool
from ssn_mm.deploy.networks import build_network

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools' / 'benchmarks'
sys.path.insert(0, str(TOOLS))


def tool(name, *args):
    return [sys.executable, TOOLS / f'{name}.py', *args]


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a tool in this process, which has OpenMMLab imported; returns exit code and output."""

    def run(name, *args):
        module = importlib.import_module(name)
        monkeypatch.setattr(sys, 'argv', [f'{name}.py', *map(str, args)])
        code = 0
        try:
            run_as_tool(module.main)
        except SystemExit as leaving:
            code = leaving.code or 0  # None is 0
        said = capsys.readouterr()
        # the interpreter prints a text that a program exits with, and makes it code 1
        return (1, code) if isinstance(code, str) else (code, said.out + said.err)

    return run


def rows_of(path):
    header, *rows = map(json.loads, path.read_text().splitlines())
    return header, rows


@pytest.mark.mmaction
@pytest.mark.parametrize(
    ('name', 'flags'),
    [
        ('bench_switch_norm', ['--shapes', '--images', '--dtype', '--busy', '--backends']),
        ('bench_sparsestmax', ['--radii', '--layers', '--calls', '--device', '--seconds']),
        ('bench_train_step', ['--models', '--size', '--competitors', '--rounds', '--seed']),
        ('bench_inference', ['--models', '--images', '--size', '--runtimes', '--seconds']),
        ('bench_onnx_norms', ['--shapes', '--runtimes', '--seconds']),
        ('bench_import', ['--runs']),
        ('render', ['--data', '--out', '--check']),
    ],
)
def test_help_explains_every_flag(call, name, flags):
    code, output = call(name, '--help')
    assert code == 0
    assert all(flag in output for flag in flags)
    assert name in ('bench_import', 'render') or '--smoke' in output


def test_layer_rows_become_a_page_and_a_picture(run_tool, call, tmp_path):
    out = tmp_path / 'benchmarks' / 'rows.jsonl'
    smoke = ('--smoke', '--threads', '1', '--out', out, '--backends', 'auto', 'reference')
    code, output = run_tool(*tool('bench_switch_norm', *smoke))
    assert code == 0, output
    assert "time / BN | time / GN | time / authors' formula | time / FrozenBN" in output
    header, rows = rows_of(out)
    assert header['tool'] == 'bench_switch_norm'
    assert header['environment']['threads'] == 1
    assert str(tmp_path) not in out.read_text()
    names = {row['competitor'] for row in rows}
    assert {'BN', 'SyncBN', 'GN', 'IN', 'LN', 'SN', "authors' formula", 'copy'} < names
    assert {'SSN competing', 'SSN selected BN [reference]', 'SSN figure 5'} < names
    assert {'FrozenBN', 'SSN selected FBN'} < names
    assert len(rows) == 2 * len(names)
    ssn = next(row for row in rows if row['competitor'] == 'SSN competing')
    assert set(ssn['seconds']) == set(ssn['roofline']) == {'forward', 'backward', 'total'}
    assert ssn['bytes'] == dict(forward=3 * 16384, backward=5 * 16384, total=8 * 16384)
    assert set(ssn['ratio']) == {'BN', 'GN', "authors' formula", 'FrozenBN', 'copy'}
    assert ssn['peak_bytes'] > 2 * 16384  # y and dx

    code, output = run_tool(*tool('render', '--data', out.parent, '--out', tmp_path))
    assert code == 0, output
    page = (tmp_path / 'benchmarks.md').read_text()
    assert 'Geometric means over 2 shapes, float32, contiguous' in page
    assert '| 2x64x4x4 |' in page
    assert 'numbers mean nothing' in page  # a smoke run says so
    picture = tmp_path / 'benchmarks.png'
    assert picture.read_bytes().startswith(b'\x89PNG')
    check = ('render', '--data', out.parent, '--out', tmp_path, '--check')
    assert call(*check)[0] == 0

    before = picture.stat().st_mtime_ns
    ssn['ratio']['BN']['total']['median'] = 99.5
    out.write_text('\n'.join(map(json.dumps, (header, *rows))))
    code, output = call(*check)
    assert code == 1
    assert 'benchmarks.md and' in output
    assert 'benchmarks.png differ from the rows' in output
    assert picture.stat().st_mtime_ns == before


def test_layers_beside_a_busy_neighbour_stand_in_a_table_of_their_own(call, tmp_path):
    rows = tmp_path / 'rows'
    asked = ('--smoke', '--competitors', 'BN', 'GN', 'SSN competing', '--out')
    for name, more in (('quiet', ()), ('busy', ('--busy',))):
        code, output = call('bench_switch_norm', *asked, rows / f'{name}.jsonl', *more)
        assert code == 0, output
        assert rows_of(rows / f'{name}.jsonl')[0]['settings']['busy'] is (name == 'busy')
    code, output = call('render', '--data', rows, '--out', tmp_path)
    assert code == 0, output
    page = (tmp_path / 'benchmarks.md').read_text()
    quiet, busy = page.split('### One layer: forward and backward pass, one core busy')
    assert '| busy / quiet |' not in quiet
    lines = [line.split('|')[1:-1] for line in busy.splitlines() if line.startswith('| SSN')]
    _, shapes, before, after, quotient = lines[0]
    assert int(shapes) == 2
    assert float(quotient) == pytest.approx(float(after) / float(before), rel=0.02)


def test_sparsestmax_is_timed_beside_softmax(call, tmp_path):
    out = tmp_path / 'rows' / 'rows.jsonl'
    code, output = call('bench_sparsestmax', '--smoke', '--out', out)
    assert code == 0, output
    assert '/ softmax' in output
    _, rows = rows_of(out)
    cases = {(*row['case']['logits'], row['case']['radius']) for row in rows}
    assert cases == {(*shape, r) for shape in ((1, 10, 3), (5, 2, 3)) for r in (0.0, 0.6)}
    code, output = call('render', '--data', out.parent, '--out', tmp_path)
    assert code == 0, output
    assert '5 calls on logits (2, 3)' in (tmp_path / 'benchmarks.md').read_text()


@pytest.mark.mmaction
def test_steps_of_whole_networks_are_timed(run_tool, tmp_path):
    code, output = run_tool(*tool('bench_train_step', '--smoke', '--threads', '1'))
    assert code == 0, output
    for title in (
        'resnet50, images 1, 64x64',
        'deeplab, images 1, 64x64',
        'i3d, images 1, 8x64x64',
        'digits, images 1, 64x64',
    ):
        assert title in output
    assert output.count('| SSN selected BN ') == 4
    assert output.count(' selection ms ') == 4
    head = "/ BN | / GN | / authors' formula | peak MiB | memory / BN"
    assert head in ' '.join(output.split())
    assert list(tmp_path.iterdir()) == []  # a smoke run writes nothing unless asked


@pytest.mark.mmaction
def test_deployed_networks_are_timed_and_stand_beside_the_paper(call, tmp_path):
    out = tmp_path / 'rows' / 'rows.jsonl'
    small = ('--models', 'resnet50', '--width', '32', '--images', '32', '--size', '64')
    code, output = call('bench_inference', '--smoke', *small, '--runtimes', '--out', out)
    assert code == 0, output
    assert '/ BN | / SN | / SN [cpu]' in ' '.join(output.split())
    _, rows = rows_of(out)
    assert [row['competitor'] for row in rows] == [
        *('BN', 'IN', 'LN', 'GN', 'SN', 'SN [cpu]'),
        *('SSN figure 5', 'SSN selected BN'),
    ]
    code, output = call('render', '--data', out.parent, '--out', tmp_path)
    assert code == 0, output
    page = (tmp_path / 'benchmarks.md').read_text()
    assert "the paper's images/s on a GTX 1080" in page
    assert '216.3 (0.83)' in page


def test_every_form_of_a_norm_is_timed_in_every_runtime(call, tmp_path):
    pytest.importorskip('openvino')
    code, output = call('bench_onnx_norms', '--smoke', '--out', tmp_path / 'rows.jsonl')
    assert code == 0, output
    _, rows = rows_of(tmp_path / 'rows.jsonl')
    timed = {(row['case']['runtime'], row['case']['norm'], row['competitor']) for row in rows}
    for runtime in ('onnxruntime', 'openvino'):
        assert {
            (runtime, 'IN', 'InstanceNormalization'),
            (runtime, 'LN', 'ReduceMean, Mul'),
        } < timed
    assert all(row['ratio']['no norm'] for row in rows)


@pytest.mark.mmaction
def test_no_batch_norm_is_left_in_deployed_networks():
    from bench_inference import build_network

    from ssn_mm.deploy import TensorMode
    from ssn_mm.layers import MixedNorm

    x = torch.randn(2, 3, 32, 32)
    for norm, kinds in {'SSN selected BN': set(), 'SSN figure 5': {MixedNorm}}.items():
        with torch.no_grad():
            deployed = build_network('resnet50', norm, x, 32, 0)
            found = {type(m) for m in deployed.modules() if 'Norm' in type(m).__name__}
            assert found == kinds
            assert TensorMode(deployed)(x).isfinite().all()


@pytest.mark.mmaction
def test_deployed_networks_compete_as_compiled_ones_too(monkeypatch):
    import bench_inference

    compiled = []
    monkeypatch.setattr(torch, 'compile', lambda network, **_: compiled.append(network) or network)
    monkeypatch.setattr(bench_inference, 'NETWORKS', ('BN', 'GN', 'SSN figure 5'))
    args = Namespace(runtimes=['compile'], device='cpu', seed=0, width=32)
    found = bench_inference.build(dict(model='resnet50', images=2, size=[64, 64]), args)
    programs = ['BN [compile]', 'SSN figure 5 [compile]']
    assert list(found) == ['BN', 'GN', 'SSN figure 5', *programs]
    for name, network in zip(programs, compiled, strict=True):
        assert found[name].phases['forward']().isfinite().all()
        assert not network.model.training


@pytest.mark.parametrize(
    ('command', 'message'),
    [
        (
            ('bench_switch_norm', '--shapes', '2,x'),
            "4 or 5 positive numbers like 8,64,56,56, got '2,x'",
        ),
        (('bench_switch_norm', '--competitors', 'frn'), "unknown norm 'frn'; did you mean FRN+TLU"),
        (('bench_switch_norm', '--competitors', 'SSN'), "SSN competes as one of 'SSN competing'"),
        (('bench_train_step', '--contestants', 'none.py'), 'no contestant at'),
        (('bench_switch_norm', '--rounds', '0'), '--rounds must be at least 1, got 0'),
        (('bench_sparsestmax', '--radii', '-1'), '--radii not negative'),
        (
            ('bench_switch_norm', '--smoke', '--backends', 'nonsense'),
            "'SN [nonsense]' does not run on the backend 'nonsense'",
        ),
        (('render', '--data', 'nowhere'), 'no rows (*.jsonl) in nowhere'),
    ],
)
def test_a_users_error_is_a_message(call, command, message):
    code, output = call(*command)
    assert code == 2
    assert message in ' '.join(output.split())
    assert 'Traceback' not in output


def test_tiles_of_trained_demos_become_a_page(call, tmp_path, monkeypatch):
    pytest.importorskip('mmseg')
    monkeypatch.setattr(importlib.import_module('check_tiles'), 'TIMES', 2)  # else it takes long
    files = []
    for norm in ('bn', 'ln'):
        cfg = load_config(ROOT / f'configs/demo/deeplab_{norm}_digits.py')
        torch.manual_seed(0)
        model = build_network(cfg)
        model.decode_head.conv_seg.weight.data.normal_()  # else all labels are one
        torch.save(dict(state_dict=model.state_dict()), tmp_path / f'{norm}.pth')
        files.append(f'{norm}={tmp_path / norm}.pth')
    code, page = call('check_tiles', *files, '--count', '1')
    assert code == 0
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in page.splitlines()]
    numbers = {tuple(row[:2]): row[2:] for row in rows if len(row) == 7 and row[1] in KINDS}
    assert set(numbers) == {(norm, kind) for norm in ('BN', 'LN') for kind in KINDS}
    for kind in KINDS:
        _, windows, given, changed, rest = numbers['BN', kind]
        assert (windows, changed) == (given, rest)  # it measures nothing
        assert float(changed) > 0
        assert numbers['LN', kind][3] != numbers['LN', kind][4]
    layers = {row[1]: row[2:] for row in rows if len(row) == 5 and row[0] == 'LN'}
    assert layers['backbone.gn1'][0] == 'LN'  # mmcv's name
    assert len(layers) == 21
    code, said = call('check_tiles', 'nonsense=file.pth')
    assert code == 2
    assert "or another demo, got 'nonsense=file.pth'" in said


KINDS = ('scenes', 'mosaics')


def test_competitors_compute_what_their_names_say():
    from _competitors import SELECTED_RADIUS, build_layer

    x = torch.randn(4, 32, 5, 5)
    names = ('SSN competing', 'SSN selected BN', 'SSN selected FBN', 'FrozenBN')
    layers = {name: build_layer(name, 32, 2) for name in names}
    assert (layers['SSN competing'].ratios() > 0.01).all()
    assert layers['SSN selected BN'].radius == torch.tensor(SELECTED_RADIUS)
    assert layers['SSN selected BN'].selected == ('BN', 'BN')
    assert build_layer('SSN figure 5', 32, 2).selected == ('BN', 'LN')
    authors = build_layer("authors' formula", 32, 2)
    torch.testing.assert_close(layers['SSN competing'](x), authors(x), rtol=1e-4, atol=1e-5)
    bn = build_layer('BN', 32, 2)
    torch.testing.assert_close(layers['SSN selected BN'](x), bn(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layers['SSN selected FBN'](x), layers['FrozenBN'](x))


@pytest.mark.mmaction
def test_networks_of_a_case_start_from_the_same_weights_and_mix_as_said():
    from _competitors import arrange
    from bench_train_step import build_model

    from ssn_mm.layers import ssn_layers

    bn, ssn = (build_model('resnet50', name, 32, seed=0) for name in ('BN', 'SSN figure 5'))
    theirs, ours = bn.state_dict(), ssn.state_dict()
    shared = [key for key in theirs if key in ours]
    assert sum('conv' in key for key in shared) == 49
    assert all(torch.equal(theirs[key], ours[key]) for key in shared)
    arrange(ssn, 'SSN figure 5')
    selected = [layer.selected for _, layer in ssn_layers(ssn)][:48]  # three whole cycles
    for row in zip(*selected, strict=True):
        assert [row.count(name) for name in ('BN', 'IN', 'LN')] == [24, 12, 12]
    assert sum(mean == var for mean, var in selected) == 3 * 6
