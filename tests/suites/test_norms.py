"""Contestants in the grid of a suite, and norms that cannot be there."""

from pathlib import Path

import pytest

from ssn_mm.cli.results import Norms
from ssn_mm.config_files import read_config
from ssn_mm.suites.norms import check_norms
from ssn_mm.suites.suite import read_suite

ROOT = Path(__file__).parents[2]
SUITES = ROOT / 'configs/suites'


@pytest.fixture
def table1(tmp_path):
    """The file of a suite of the paper's norms, which have no recipes."""
    norms = ('bn', 'in', 'ln', 'gn', 'sn', 'ssn')
    configs = {norm.upper(): f'{ROOT}/configs/demo/resnet_{norm}_digits.py' for norm in norms}
    path = tmp_path / 'table1.py'
    path.write_text(
        f"title = 'T'\nconfigs = {configs}\nseeds = [0, 1, 2]\nmetrics = ['accuracy/top1']\n"
    )
    return path


def labels(suite):
    return list(dict.fromkeys(run.label for run in suite.runs))


def test_the_norms_that_are_asked_for_are_the_grid_in_their_order(table1):
    suite = read_suite(table1, ['DyT', 'GN', 'BN'])
    assert labels(suite) == ['DyT', 'GN', 'BN']
    assert [run.norm for run in suite.runs[:3]] == ['DyT', '', '']
    assert suite.runs[0].config == suite.runs[2].config
    names = set(labels(read_suite(SUITES / 'contestants_deeplab_digits.py')))
    assert set(labels(read_suite(table1, ['all']))) == names


def test_every_contestant_can_serve_the_small_resnet(table1):
    with table1.open('a') as file:
        file.write(
            "norms = 'all'\nnorm_options = dict(num_groups=8, momentum=0.1, steps=(1, 2, 3))\n"
        )
    suite = read_suite(table1)
    assert len(suite.runs) == 3 * 15
    check_norms(suite.runs)


@pytest.mark.parametrize('task', ['deeplab', 'i3d'])
def test_every_contestant_can_serve_the_demos(task):
    suite = read_suite(SUITES / f'contestants_{task}_digits.py')
    assert labels(suite)[:6] == ['BN', 'IN', 'LN', 'GN', 'SN', 'SSN']
    assert len(suite.runs) == 15
    check_norms(suite.runs)


def test_a_contestant_changes_every_norm_of_a_config_and_its_hooks(table1):
    suite = read_suite(SUITES / 'contestants_deeplab_digits.py')
    runs = {run.label: read_config(run.config, run.options) for run in suite.runs}
    for part in ('backbone', 'decode_head', 'auxiliary_head'):
        assert runs['EvoNorm-S0'].model[part].norm_cfg == dict(type='EvoNormS0', num_groups=8)
        assert runs['FRN+TLU'].model[part].norm_cfg == dict(type='FRN', eps=1e-6)
    suite = read_suite(table1, ['SSN', 'DyT'])  # whose base is not asked for
    assert 'custom_hooks' not in read_config(suite.runs[1].config, suite.runs[1].options)


def test_hooks_of_the_norm_that_is_replaced_are_left_out(tmp_path, table1):
    (tmp_path / 'own.py').write_text(
        f"_base_ = '{table1}'\nnorm_base = 'SSN'\nseeds = [0]\npaper = {{}}\n"
        f"configs = dict(SSN='{ROOT}/configs/demo/resnet_ssn_digits.py')\n"
    )
    own = read_suite(tmp_path / 'own.py', ['DyT'])
    assert read_config(own.runs[0].config, own.runs[0].options).custom_hooks == []


def test_the_papers_numbers_are_not_those_of_contestants():
    suite = read_suite(SUITES / 'table1_imagenet.py', ['BN', 'DyT'])
    assert set(suite.paper) == {'BN'}


def test_a_run_that_starts_from_another_is_left_out_of_the_order_without_it(tmp_path):
    configs = dict.fromkeys(('SN', 'SSN', 'argmax'), f'{ROOT}/configs/demo/resnet_ssn_digits.py')
    (tmp_path / 'own.py').write_text(
        f"title = 'T'\nconfigs = {configs}\nseeds = [0]\nmetrics = ['accuracy/top1']\n"
        "after = {'argmax': 'SN'}\n"
    )
    assert labels(read_suite(tmp_path / 'own.py', ['SSN', 'SN'])) == ['SSN', 'SN']
    with pytest.raises(ValueError, match=r"norm_base must be a label of configs.*got 'BN'"):
        read_suite(tmp_path / 'own.py', ['SSN', 'DyT'])


def test_unknown_norms_are_told_with_the_nearest(table1):
    with pytest.raises(ValueError, match=r"unknown norm 'FRN'; did you mean FRN\+TLU"):
        read_suite(table1, ['BN', 'FRN'])
    with pytest.raises(FileNotFoundError, match='no contestant at'):
        Norms(['BN', 'mine'], [Path('mine.py')]).read_suite(table1)


@pytest.mark.parametrize(
    ('norm', 'told'),
    [
        ('EvoNorm-S0', r'EvoNorm-S0 cannot serve resnet_bn_digits\.py: .*num_groups=32, got 16'),
        ('GN+WS', r'GN\+WS cannot serve resnet_bn_digits\.py: .*\(16\) must be divisible'),
    ],
)
def test_a_norm_that_cannot_have_the_channels_is_refused_before_training(norm, told, table1):
    suite = read_suite(table1, ['BN', norm])
    with pytest.raises(ValueError, match=told):
        check_norms(suite.runs)


def test_a_norm_that_cannot_measure_a_map_is_refused_before_training(tmp_path, table1):
    (tmp_path / 'own.py').write_text(
        f"_base_ = '{table1}'\nnorms = ['IN']\nseeds = [0]\npaper = {{}}\n"
        f"configs = dict(_delete_=True, BN='{ROOT}/configs/demo/resnet_bn_digits.py')\n"
        "options = {'model.backbone.strides': (8, 8, 8), 'model.backbone.deep_stem': True}\n"
    )
    suite = read_suite(tmp_path / 'own.py')
    told = r'IN cannot serve resnet_bn_digits\.py: backbone\.layer\d.*more than 1 spatial element'
    with pytest.raises(ValueError, match=told):
        check_norms(suite.runs)


def test_a_network_without_norm_cfg_is_told(tmp_path):
    (tmp_path / 'plain.py').write_text("model = dict(type='ImageClassifier', backbone=dict())")
    (tmp_path / 'own.py').write_text(
        "title = 'T'\nconfigs = dict(BN='plain.py')\nseeds = [0]\nmetrics = ['acc']\n"
    )
    with pytest.raises(ValueError, match=r'DyT needs a norm_cfg in model of .*plain\.py'):
        read_suite(tmp_path / 'own.py', ['DyT'])
