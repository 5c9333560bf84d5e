"""Trainings that were stopped early, and what is said of them."""

import json
import math
import sys
from pathlib import Path

import pytest
from recorded import log

from ssn_mm.suites.results import read_results, results_of_training, write_results
from ssn_mm.suites.tables import notes, tables
from ssn_mm.visualization.report import write_report

ROOT = Path(__file__).parents[2]
LOOP = 'train_cfg = dict(max_iters=600, type="IterBasedTrainLoop", val_interval=200)\n'
EPOCHS = 'train_cfg = dict(max_epochs=3, type="EpochBasedTrainLoop", val_interval=1)\n'
VALIDATED = 'val_dataloader = dict(batch_size=1)\n'


def train(folder, steps, validations=(), cfg=LOOP + VALIDATED, name='20260101_000000', more=()):
    """What mmengine leaves of a training, ``steps`` by their losses."""
    records = [dict(lr=0.1, loss=loss, time=0.5, iter=at, step=at) for at, loss in steps]
    log(folder, [*records, *validations, *more], name)
    (folder / name / 'vis_data/config.py').write_text(cfg)


def select(folder, run, upto=10):
    header = dict(layers=run.layers, normalizers=[run.normalizers] * len(run.layers))
    lines = [json.dumps(header)]
    for at, radius, ratios in list(zip(run.iters, run.radius, run.ratios, strict=True))[:upto]:
        radius = None if math.isnan(radius) else float(radius)
        lines.append(json.dumps(dict(iter=int(at), radius=radius, ratios=ratios.tolist())))
    (folder / 'ssn_ratios.jsonl').write_text('\n'.join(lines) + '\n')


def test_a_report_of_a_stopped_run_says_what_is_missing(tmp_path, make_ratios, run_tool):
    train(tmp_path, [(50, 3.0), (100, 2.0)])
    select(tmp_path, make_ratios(), upto=4)
    tool = ROOT / 'tools/analysis_tools/report.py'
    code, output = run_tool(sys.executable, tool, tmp_path)
    assert code == 0, output
    page = (tmp_path / 'report/report.html').read_text()
    for told in (
        'The training is not complete: iteration 100 of 600 is the last that was finished.',
        'There is no metric, as there was no validation; the first comes after '
        'train_cfg.val_interval=200.',
        '8 of 8 ratios have not selected yet at iteration 40, where the radius is 0.333',
        f'{tmp_path} has no checkpoint',
    ):
        assert told in output
        assert told in page
    assert '1 run.' in page
    assert (tmp_path / 'report/progress.png').is_file()
    for name in ('make_tables', 'plot_ratios', 'plot_trajectory'):
        code, output = run_tool(sys.executable, tool.with_name(f'{name}.py'), tmp_path)
        assert code == 0, output
        assert '8 of 8 ratios have not selected yet at iteration 40' in output


def test_nothing_is_said_of_a_run_that_is_complete(tmp_path, make_ratios):
    train(tmp_path, [(600, 1.0)], [{'mIoU': 60.0, 'step': 600}])
    select(tmp_path, make_ratios())
    (tmp_path / 'iter_600.pth').touch()
    results = results_of_training(tmp_path)
    assert notes(results) == []
    assert results.rows[0]['metrics'] == {'mIoU': 60}


@pytest.mark.parametrize(
    ('cfg', 'steps', 'validations', 'pointer', 'told'),
    [
        # logged every 50 iterations, or not at all
        (LOOP, [(550, 1.0)], [], 'iter_600.pth', None),
        (LOOP, [(550, 1.0)], [], 'iter_400.pth', 'iteration 550 of 600 is the last'),
        (LOOP, [], [{'mIoU': 1.0, 'step': 600}], '', None),
        (EPOCHS, [(50, 1.0)], [{'acc/top1': 1.0, 'step': 3}], '', None),
        (EPOCHS, [(50, 1.0)], [], 'epoch_3.pth', None),
        (EPOCHS, [(50, 1.0)], [], 'epoch_1.pth', 'epoch 1 of 3 is the last that was finished, l'),
        ('import os', [(50, 1.0)], [], '', None),  # no plain data: nothing is known
    ],
)
def test_how_far_a_training_came_is_what_its_files_show(
    tmp_path, cfg, steps, validations, pointer, told
):
    train(tmp_path, steps, validations, cfg)
    if pointer:
        (tmp_path / 'last_checkpoint').write_text(f'/elsewhere/{pointer}')
    found = [note for note in notes(results_of_training(tmp_path)) if 'not complete' in note]
    assert len(found) == (told is not None)
    assert told is None or told in found[0]


def test_a_new_training_in_an_old_work_dir_does_not_take_the_old_ones_metric(tmp_path):
    train(tmp_path, [(50, 3.0), (600, 1.0)], [{'mIoU': 60.0, 'step': 600}])
    train(tmp_path, [(50, 2.5), (100, 2.0)], name='20260102_000000')
    row = results_of_training(tmp_path).rows[0]
    assert (row['metrics'], row['curves']) == ({}, {'loss': [[50, 100], [2.5, 2.0]]})
    assert 'iteration 100 of 600' in row['notes'][0]


def test_a_resumed_training_keeps_the_validations_before(tmp_path):
    first = [{'mIoU': 50.0, 'step': 200}, dict(loss=1.4, iter=250, step=250)]
    train(tmp_path, [(150, 2.0), (200, 1.5)], first)
    train(tmp_path, [(250, 1.3)], name='20260102_000000')
    row = results_of_training(tmp_path).rows[0]
    assert row['metrics'] == {'mIoU': 50}
    assert row['curves']['loss'] == [[150, 200, 250], [2, 1.5, 1.3]]


def test_metrics_of_other_tasks_and_none_at_all_are_shown(tmp_path, make_ratios):
    train(tmp_path / 'a', [(600, 1.0)], [{'val/mae': 0.25, 'time': 1.0, 'step': 600}])
    results = results_of_training(tmp_path / 'a')
    assert results.rows[0]['metrics'] == {'val/mae': 0.25}
    assert '| val/mae |' in str(tables(results)['All runs'][0])
    (tmp_path / 'b').mkdir()
    select(tmp_path / 'b', make_ratios())
    page = write_report(results_of_training(tmp_path / 'b'), tmp_path / 'page')  # no log at all
    assert 'no validation' in page.read_text()
    assert (tmp_path / 'page/network.png').is_file()


@pytest.mark.parametrize('ratios', [None, '', '{"layers": ["a"], "norma', '\x00\xff', 'header'])
def test_networks_without_ssn_and_damaged_ratios_are_reported(tmp_path, ratios, make_ratios):
    train(tmp_path, [(600, 1.0)], [{'mIoU': 60.0, 'step': 600}])
    if ratios == 'header':
        select(tmp_path, make_ratios(), upto=0)
    elif ratios is not None:
        (tmp_path / 'ssn_ratios.jsonl').write_bytes(ratios.encode('latin1'))
    results = results_of_training(tmp_path)
    (told,) = [note for note in notes(results) if 'atios' in note]
    expected = 'neither SSN nor SN layers' if ratios is None else 'No ratios are shown: '
    assert expected in told
    write_report(results, tmp_path / 'report')
    assert not (tmp_path / 'report/network.png').exists()


def test_sn_is_not_said_to_have_anything_left_to_select(tmp_path, make_ratios):
    train(tmp_path, [(600, 1.0)], [{'mIoU': 60.0, 'step': 600}])
    select(tmp_path, make_ratios(sparse=False))
    (tmp_path / 'iter_600.pth').touch()
    assert notes(results_of_training(tmp_path)) == []


def test_a_loss_that_became_nan_is_told_drawn_and_kept(tmp_path):
    train(tmp_path, [(50, 3.0), (100, math.nan), (600, math.inf)], [{'mIoU': 1.0, 'step': 600}])
    results = results_of_training(tmp_path)
    assert 'loss is nan from step 100 on.' in notes(results)
    write_report(results, tmp_path / 'report')
    write_results(tmp_path / 'results.jsonl', results)
    assert 'NaN' not in (tmp_path / 'results.jsonl').read_text()
    values = read_results(tmp_path / 'results.jsonl').rows[0]['curves']['loss'][1]
    assert (values[0], *map(math.isnan, values[1:])) == (3, True, True)


def test_a_folder_without_a_training_is_none(tmp_path, run_tool):
    tool = ROOT / 'tools/analysis_tools/report.py'
    code, output = run_tool(sys.executable, tool, tmp_path)
    assert code == 2
    assert f'no training in {tmp_path}' in output
    (tmp_path / 'file').touch()
    train(tmp_path, [(50, 1.0)])
    code, output = run_tool(sys.executable, tool, tmp_path, '--out', 'file')
    assert code == 2
    assert 'is a file, so nothing can be written' in output


def test_a_loss_that_is_null_was_nan_and_is_reported_as_such(tmp_path):
    train(tmp_path, [(50, 3.0), (100, None)], [{'mIoU': None, 'step': 100}])
    row = results_of_training(tmp_path).rows[0]
    assert math.isnan(row['curves']['loss'][1][1])
    assert math.isnan(row['metrics']['mIoU'])
    assert 'loss is nan from step 100 on.' in row['notes']
    assert write_report(results_of_training(tmp_path), tmp_path / 'page').is_file()


@pytest.mark.parametrize('key', ['loss', 'step', 'time', 'memory', 'mIoU'])
def test_text_where_a_number_belongs_is_told_with_its_place(tmp_path, key):
    train(tmp_path, [(50, 3.0)], [{'mIoU': 1.0, 'step': 50}], more=[{'step': 60, key: 'much'}])
    with pytest.raises(ValueError, match=f'{key} is "much", expected a') as told:
        results_of_training(tmp_path)
    file = tmp_path / '20260101_000000/vis_data/scalars.json'
    assert str(told.value).startswith(f'{file}, line 3: ')


def test_every_tool_tells_a_record_that_does_not_fit(tmp_path, make_ratios, run_tools):
    train(tmp_path, [(50, 3.0)], more=[{'step': 60, 'loss': 'much'}])
    select(tmp_path, make_ratios())
    file = tmp_path / 'ssn_ratios.jsonl'
    *lines, last = file.read_text().splitlines()
    record = json.loads(last)
    record['ratios'].pop()
    file.write_text('\n'.join([*lines, json.dumps(record)]))
    names = ('report', 'make_tables', 'plot_ratios', 'plot_trajectory')
    tools = [[ROOT / f'tools/analysis_tools/{name}.py', tmp_path] for name in names]
    for tool, (code, output) in zip(names, run_tools(tmp_path, *tools), strict=True):
        assert code == 2, output
        of_loss = 'line 2: loss is "much"'
        of_ratios = 'line 11: the number of layers of ratios is 3, expected 4'
        assert (of_ratios if 'plot' in tool else of_loss) in output
        assert 'Traceback' not in output
