import json
import subprocess
import sys
from pathlib import Path

import pytest

from ssn_mm.analysis.demos import append_rows, make_page, read_rows, read_run, run_demos

ROOT = Path(__file__).parents[2]
DEMO = ROOT / 'configs/demo/resnet_ssn_digits.py'
TOOL = ROOT / 'tools/analysis_tools/run_demos.py'
OPTIONS = [
    'train_cfg.max_epochs=1', 'train_dataloader.batch_size=8',
    'model.backbone.base_channels=8', 'model.backbone.stem_channels=8', 'model.head.in_channels=32',
]  # fmt: skip


def options(folder):
    """Of a run of two iterations."""
    data = [('data_root', folder / 'world'), ('num_train', 16), ('num_val', 10)]
    loaders = ('train', 'val', 'test')
    return OPTIONS + [f'{loader}_dataloader.dataset.{k}={v}' for loader in loaders for k, v in data]


@pytest.fixture(scope='module')
def ran(tmp_path_factory):
    """A run of the tool: its folder."""
    folder = tmp_path_factory.mktemp('demos')
    command = [
        sys.executable, TOOL, DEMO, '--seeds', '3', '--work-dir', folder / 'runs',
        '--docs', folder / 'docs', '--cfg-options', *options(folder),
    ]  # fmt: skip
    done = subprocess.run(
        [str(c) for c in command], cwd=folder, text=True, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert 'resnet_ssn_digits, seed 3 (1 of 1)' in done.stderr
    return folder


@pytest.fixture
def row(ran):
    (row,) = read_rows(ran / 'docs/demos/demos.jsonl')
    return row


def test_a_row_tells_what_the_runs_own_logs_say(ran, row):
    work_dir = ran / 'runs/resnet_ssn_digits-seed3'
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    logged = [json.loads(line) for line in log.read_text().splitlines()]
    assert row['value'] == round(
        [r['accuracy/top1'] for r in logged if 'accuracy/top1' in r][-1], 2
    )
    assert (row['demo'], row['seed'], row['metric']) == ('resnet_ssn_digits', 3, 'top-1')
    assert (row['layers'], row['one_hot'], sum(row['selected'].values())) == (15, 30, 30)
    said = (work_dir / 'output.txt').read_text()
    chosen = ', '.join(f'{name} {row["selected"][name]}' for name in ('IN', 'LN', 'BN'))
    assert f'30 of 30 ratios (mean and variance of 15 SSN layers) have chosen: {chosen}.' in said
    assert 'randomness = dict(seed=3)' in said
    assert row['environment']['seed'] == 3
    assert row['seconds'] > 1


def test_a_finished_run_is_not_repeated_and_its_row_not_doubled(ran, row, tmp_path):
    data = tmp_path / 'demos.jsonl'
    for _ in range(2):
        rows = run_demos([DEMO], [3], ran / 'runs', Path('no such tool'), options(ran))
        append_rows(data, rows)
    assert read_rows(data) == [row]


def test_a_failed_training_is_told_with_its_output_and_leaves_no_row(tmp_path):
    (tmp_path / 'train.py').write_text("raise RuntimeError('no luck')")
    for _ in range(2):  # the second shows that nothing of the first counts as finished
        with pytest.raises(ValueError, match=r'exit code 1(.|\n)*no luck'):
            list(run_demos([DEMO], [0], tmp_path / 'runs', tmp_path / 'train.py', []))


def test_a_run_without_validation_is_refused(tmp_path):
    with pytest.raises(ValueError, match='no validation with mIoU'):
        read_run(tmp_path)


def test_the_page_has_a_row_a_demo_with_mean_and_deviation(row):
    rows = [row | dict(seed=seed, value=value) for seed, value in enumerate((1, 95, 96, 97.0))]
    rows[0] |= dict(seed=1)  # of an older run: the later row counts
    page = make_page(rows)
    (line,) = [line for line in page.splitlines() if line.startswith('| resnet_ssn_digits')]
    assert [cell.strip() for cell in line.split('|')[2:6]] == ['95.0', '96.0', '97.0', '96.0 ± 1.0']
    assert ' 30/30 ' in line
    assert page.count('\n- cpu ') == 1


def test_a_demo_without_choices_has_none(row):
    rows = [row | dict(demo='resnet_bn_digits', layers=0, one_hot=0, selected={})]
    (line,) = [line for line in make_page(rows).splitlines() if '_bn_' in line]
    assert [cell.strip() for cell in line.split('|')[4:6]] == ['-', '-']


def test_check_tells_whether_the_page_is_of_the_rows(ran, run_tool):
    command = [sys.executable, TOOL, '--docs', ran / 'docs']
    assert run_tool(*command, '--check')[0] == 0
    page = ran / 'docs/demos.md'
    made = page.read_text()
    page.write_text(made + 'by hand')
    code, output = run_tool(*command, '--check')
    assert code == 1
    assert 'demos.md differs from the rows' in output
    assert run_tool(*command, '--render')[0] == 0
    assert page.read_text() == made


def test_a_damaged_row_is_quoted(tmp_path):
    (tmp_path / 'demos.jsonl').write_text('{"demo": "x"')
    with pytest.raises(ValueError, match=r'line 1: expected .* got \'\{"demo": "x"'):
        read_rows(tmp_path / 'demos.jsonl')


def test_the_docs_page_is_made_of_rows_of_three_seeds_that_reach_their_marks():
    rows = read_rows(ROOT / 'docs/demos/demos.jsonl')
    assert (ROOT / 'docs/demos.md').read_text(encoding='utf-8') == make_page(rows)
    for name, least in (('resnet', 95), ('i3d', 85), ('deeplab', 60)):
        own = {row['seed']: row for row in rows if row['demo'] == f'{name}_ssn_digits'}
        assert own.keys() >= {0, 1, 2}
        assert all(row['value'] >= least for row in own.values())
        assert all(row['one_hot'] == 2 * row['layers'] for row in own.values())
