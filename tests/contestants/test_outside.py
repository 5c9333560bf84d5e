"""The example of docs/contestants.md, a norm from outside, is wherever norms compete."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch
from recorded import make_row
from suites_of_text import _suite  # noqa: F401, a fixture

from ssn_mm.cli.analysis_tools import report
from ssn_mm.cli.results import Norms
from ssn_mm.contestants import registry
from ssn_mm.suites.results import read_results, write_results
from ssn_mm.suites.significance import differences
from ssn_mm.suites.tables import tables
from ssn_mm.visualization.picture import LABELS, OTHERS, line_style
from ssn_mm.visualization.run_figures import plot_metric

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / 'tools/benchmarks'


@pytest.fixture
def l1_norm(tmp_path):
    """The file of the example."""
    page = (ROOT / 'docs/contestants.md').read_text(encoding='utf-8')
    (text,) = re.findall(r'```python\n# l1_norm\.py\n(.*?)```', page, re.DOTALL)
    (tmp_path / 'mine').mkdir()
    file = tmp_path / 'mine/l1_norm.py'
    file.write_text(text, encoding='utf-8')
    return file


@pytest.fixture
def known(l1_norm, monkeypatch):
    """The file, known to this process until the test ends."""
    monkeypatch.setattr(registry, '_found', dict(registry._found))
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    yield l1_norm
    sys.modules.pop('l1_norm', None)


def test_it_is_trained_and_compared_by_a_suite(run_script, l1_norm, tmp_path):
    (tmp_path / 'small.py').write_text(
        f"""
title = 'Small'
configs = dict(BN='{ROOT}/configs/demo/resnet_bn_digits.py')
seeds = [0]
metrics = ['accuracy/top1']
options = {{
    'train_cfg': dict(max_epochs=1, val_interval=1),
    'model.backbone.base_channels': 8,
    'model.head.in_channels': 32,
    **{{
        f'{{loader}}_dataloader.dataset.{{key}}': value
        for loader in ('train', 'val', 'test')
        for key, value in dict(data_root='{tmp_path}/data', num_train=64, num_val=20).items()
    }},
    **{{f'{{loader}}_dataloader.num_workers': 0 for loader in ('train', 'val', 'test')}},
    **{{f'{{loader}}_dataloader.persistent_workers': False for loader in ('train', 'val', 'test')}},
}}
"""
    )
    asked = ['--norms', 'L1', '--contestants', 'mine']
    words = [tmp_path / 'small.py', *asked, '--work-dir', tmp_path / 'runs']
    command = [ROOT / 'tools/run_suite.py', *words, '--out', tmp_path / 'out.jsonl']
    code, output = run_script(*command, cwd=tmp_path)
    assert code == 0, output[-3000:]
    assert re.search(r'^\| L1 +\| +\d', output, re.M), output
    rows = {row['label']: row for row in read_results(tmp_path / 'out.jsonl').done}
    assert list(rows) == ['L1']
    assert 'imports' in rows['L1']['provenance']  # the file is part of what the result depends on
    state = torch.load(tmp_path / 'runs/small/L1-seed0/epoch_1.pth', weights_only=False)
    assert 'backbone.bn1.weight' not in state['state_dict']
    assert 'report.py' in output
    assert '--norms L1 --contestants mine' in output.replace("'", '')


def test_it_is_in_every_table_figure_and_test_of_significance(known, tmp_path, suite):
    names = ('bn', 'ssn')
    for name in names:
        cfg = f"base = 1\nmodel = dict(backbone=dict(norm_cfg=dict(type='{name.upper()}')))\n"
        (tmp_path / f'{name}.py').write_text(cfg)
    suite(variants={'2': {}, '32': {}}, variant='images', seeds=[0, 1, 2], metrics=['acc/top1'])
    own = Norms(['BN', 'SSN', 'L1'], [known]).read_suite(tmp_path / 'grid.py')
    for run in own.runs:
        value = 60 + (10 + run.seed / 9) * (run.label == 'L1') + run.seed
        folder = tmp_path / 'runs/grid' / run.name
        folder.mkdir(parents=True)
        row = make_row(run.label, run.variant, run.seed, value) | dict(run=run.name)
        (folder / 'result.json').write_text(json.dumps(row))
    asked = Norms(['BN', 'SSN', 'L1'], [known])
    report(tmp_path / 'grid.py', tmp_path / 'runs', tmp_path / 'page', asked)
    page = (tmp_path / 'page/report.html').read_text(encoding='utf-8')
    assert 'SSN - L1, 2' in page
    curves = (tmp_path / 'page/curves.csv').read_text()
    assert '\nL1,2,' in curves
    assert '\nL1,32,' in (tmp_path / 'page/metric.csv').read_text()
    results = read_results_of(own, tmp_path)
    assert tables(results)['All runs'][0].cells[3][0] == 'L1, 2'
    assert differences(results, 'SSN')['L1', '2'].p < 0.01
    (axes, *_) = plot_metric(results).figure.axes
    assert 'L1' in axes.get_legend_handles_labels()[1]


def read_results_of(suite, tmp_path):
    from ssn_mm.suites.plan import results_of
    from ssn_mm.suites.results import results_of_suite

    results = results_of_suite(suite, results_of(suite, tmp_path / 'runs/grid'))
    write_results(tmp_path / 'all.jsonl', results)
    return read_results(tmp_path / 'all.jsonl')


def test_labels_without_a_colour_of_their_own_get_one_each():
    styles = [line_style(f'norm {index}', index) for index in range(len(OTHERS))]
    assert len({style['color'] for style in styles}) == len(OTHERS) >= 10
    assert not {style['color'] for style in styles} & set(LABELS.values())


def test_it_is_timed_beside_the_others(run_script, l1_norm, tmp_path):
    out = tmp_path / 'rows.jsonl'
    asked = ['--competitors', 'BN', 'L1', '--contestants', l1_norm, '--shapes', '2,32,8,8']
    command = [BENCHMARKS / 'bench_switch_norm.py', '--smoke', *asked, '--out', out]
    code, output = run_script(*command, cwd=tmp_path)
    assert code == 0, output[-3000:]
    assert re.search(r'^\| L1 +\| +\d', output, re.M)
    _, *rows = map(json.loads, out.read_text().splitlines())
    assert {row['competitor'] for row in rows} == {'BN', 'L1', 'copy'}
    assert all(row['peak_bytes'] for row in rows if row['competitor'] == 'L1')
    assert str(tmp_path) not in out.read_text()
