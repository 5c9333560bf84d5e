"""What the first GPU is asked, where there is none."""

import ast
import json
import sys
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).parents[2] / 'tools' / 'benchmarks'
sys.path.insert(0, str(TOOLS))
import _gpu_parts  # noqa: E402
import _gpu_rows  # noqa: E402
import _gpu_timing  # noqa: E402
from _gpu_rows import Rows  # noqa: E402

FILES = sorted(TOOLS.glob('*gpu_*.py'))
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason='asks what is said without a GPU')


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def rows(tmp_path, monkeypatch):
    # the interpreter takes long for each program, and a kernel for each shape
    kernels = pytest.importorskip('ssn_mm.ops.backends.triton')
    monkeypatch.setattr(kernels.plans, '_PROGRAMS', 1)
    return Rows(tmp_path / 'rows.jsonl', 'part', 600)


@pytest.fixture
def check(run_alone, tmp_path):
    def run(*options):
        command = [sys.executable, TOOLS / 'gpu_check.py', '--out', 'rows.jsonl', *options]
        code, output = run_alone(*command)
        return code, output, read(tmp_path / 'rows.jsonl')

    return run


def test_it_needs_torch_triton_and_pytest_alone():
    found = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.split('.')[0])
    own = {file.stem for file in FILES} | {'ssn_mm'}
    assert found - set(sys.stdlib_module_names) - own == {'torch', 'pytest'}


@no_gpu
def test_without_a_gpu_it_says_so_and_runs_what_it_can(check):
    code, output, rows = check('--parts', 'machine', 'deterministic', 'sync', 'resnet50')
    assert code == 0, output
    found = {row['part']: row for row in rows}
    assert 'no GPU here' in found['machine']['note']
    assert found['machine']['torch'] == torch.__version__
    assert found['sync']['note'] == found['resnet50']['note'] == 'needs a GPU'
    assert [row['ok'] for row in rows if row['part'] == 'deterministic'] == [True] * 3
    assert '3 ok, 0 failed, 3 noted -> rows.jsonl' in output


def test_a_part_that_is_not_done_in_time_is_ended_and_failed(tmp_path, monkeypatch):
    check, path = pytest.importorskip('gpu_check'), tmp_path / 'rows.jsonl'
    ended = tmp_path / 'ended'
    slow = tmp_path / 'slow.py'
    slow.write_text(f'import pathlib, time; time.sleep(20); pathlib.Path({str(ended)!r}).touch()')
    monkeypatch.setattr(check, '__file__', str(slow))  # what runs a part, in a process of its own
    check.run_group({'sync': 5, 'capture': 4}, path)
    told = {row['part']: (row['ok'], row['note']) for row in read(path)}
    assert told == {
        'sync': (False, 'not done within 5 s'),
        'capture': (None, 'not begun: the time is over'),
    }
    assert not ended.exists()


def test_an_error_of_a_part_is_a_row_with_its_place(tmp_path, monkeypatch):
    check = pytest.importorskip('gpu_check')
    monkeypatch.setattr(_gpu_parts, 'make_net', None)
    assert check.run_part('deterministic', Rows(tmp_path / 'rows.jsonl', 'deterministic', 60)) == 1
    torch.use_deterministic_algorithms(False)
    (row,) = read(tmp_path / 'rows.jsonl')
    assert row['ok'] is False
    assert "'NoneType' object is not callable" in row['note']


def test_rows_of_earlier_checks_are_kept_and_counted_apart(tmp_path):
    check, path = pytest.importorskip('gpu_check'), tmp_path / 'rows.jsonl'
    Rows(path, 'before', 1).write('', False)
    start = path.stat().st_size
    Rows(path, 'now', 1).write('', True, off=0.5)
    assert check.count_rows(path, start) == dict(ok=1, failed=0, noted=0)
    assert [row['part'] for row in read(path)] == ['before', 'now']


@pytest.mark.parametrize('kind', _gpu_parts.KINDS)
def test_layers_agree_with_float64_and_none_of_1e_12_passes(kind, rows, monkeypatch):
    x = torch.randn(2, 8, 3, 2)
    _gpu_parts.compare(rows, kind, 'small', x)
    monkeypatch.setattr(_gpu_parts, 'LIMITS', {torch.float32: 1e-12})
    _gpu_parts.compare(rows, kind, 'small', x.contiguous(memory_format=torch.channels_last))
    right, wrong = read(rows.path)
    assert right['ok'], right
    assert not wrong['ok']
    assert 'beyond what rounding allows' in wrong['note']


@pytest.mark.parametrize('last', [True, False])
def test_a_map_that_repeats_has_results_that_repeat(last, rows):
    _gpu_parts.repeated(rows, 'repeated', (2, 4, 5, 6), last)
    found = read(rows.path)
    assert len(found) == 5
    assert all(row['ok'] for row in found), found


@no_gpu
def test_what_is_measured_names_competitors_and_their_part_of_batch_norms_time(rows, monkeypatch):
    _gpu_timing.against_batch_norm(rows, [(2, 8, 3, 3)])
    assert len(read(rows.path)) == 3 * 2 * 7  # dtypes, layouts, competitors
    _gpu_timing.resnet50(rows)
    assert {'BN', 'SSN competing', 'SSN selected BN'} <= {
        row['case'].split(' float32')[0] for row in read(rows.path)[-3:]
    }
    assert all(row['of_bn'] > 0 and row['host_ms'] > 0 for row in read(rows.path))
    _gpu_timing.bandwidth(rows, [(1, 2, 3, 3)])
    assert all(row['of_copy'] > 0 for row in read(rows.path)[-5:])


def test_the_network_that_is_timed_is_a_resnet_50():
    net = _gpu_timing.resnet(torch.nn.BatchNorm2d)
    assert sum(p.numel() for p in net.parameters()) == 25_557_032  # as torchvision's
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules()) == 53


def test_a_place_where_no_rows_can_be_written_is_refused_before_anything_runs(tmp_path, run_alone):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'weights.pth').write_bytes(b'PK')
    for out, told in [
        ('a', '--out a: is a folder, and a file is needed'),
        ('weights.pth', '--out weights.pth: holds no rows of this tool'),
        ('weights.pth/rows.jsonl', '--out weights.pth/rows.jsonl: '),
    ]:
        command = [sys.executable, TOOLS / 'gpu_check.py', '--parts', 'sync', '--out', out]
        code, output = run_alone(*command)
        assert code == 2
        assert told in output
        assert 'Traceback' not in output
    assert (tmp_path / 'weights.pth').read_bytes() == b'PK'
    Rows(tmp_path / 'rows.jsonl', 'part', 600).write('', True)
    _gpu_rows.check_rows(tmp_path / 'rows.jsonl')
    _gpu_rows.check_rows(tmp_path / 'new/rows.jsonl')
    assert (tmp_path / 'new').is_dir()
