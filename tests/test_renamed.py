"""What 0.1 called otherwise: Python is told the new place, and what configs name goes on."""

import importlib
import sys
import warnings
from pathlib import Path

import pytest

from ssn_mm.renamed import IN_CONFIGS, MOVED

ROOT = Path(__file__).parents[1]
DUMPED = ROOT / 'tests/assets/deeplab_ssn_digits_of_0_1.py'  # by a training, into its work dir


@pytest.mark.parametrize('old', MOVED)
def test_a_module_that_has_moved_raises_with_its_new_place(old):
    with pytest.raises(ModuleNotFoundError, match=f'ssn_mm.{old} has moved to ssn_mm') as told:
        importlib.import_module(f'ssn_mm.{old}')
    for place in str(told.value).partition(' has moved to ')[2].partition(', see')[0].split():
        if place != 'or':
            importlib.import_module(place.rstrip(','))


def test_modules_within_a_package_that_has_moved_raise_too():
    with pytest.raises(ModuleNotFoundError, match=r'ssn_mm\.analysis has moved to ssn_mm\.suites'):
        importlib.import_module('ssn_mm.analysis.suite')


@pytest.mark.parametrize(
    ('statement', 'told'),
    [
        ('from ssn_mm import set_choices', 'set_choices is now set_selection'),
        ('from ssn_mm.ops import chosen_norm', 'chosen_norm is now selected_norm'),
        ('from ssn_mm.engine import run', 'run has moved to ssn_mm.cli.config'),
        ('from ssn_mm import compat', 'compat has moved to ssn_mm.patches'),
    ],
)
def test_a_from_import_of_an_old_name_says_the_new_one(statement, told):
    with pytest.raises(ImportError, match=told):
        exec(statement, {})


@pytest.mark.mmaction
@pytest.mark.parametrize('old', IN_CONFIGS)
def test_a_module_that_configs_name_goes_on_with_a_warning(old):
    sys.modules.pop(f'ssn_mm.{old}', None)
    with pytest.warns(UserWarning, match=f'ssn_mm.{old} is now {IN_CONFIGS[old]}'):
        module = importlib.import_module(f'ssn_mm.{old}')
    assert module is importlib.import_module(IN_CONFIGS[old])
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        importlib.import_module(IN_CONFIGS[old])


def test_a_module_that_never_was_is_not_found_as_ever():
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'ssn_mm\.nothing'"):
        importlib.import_module('ssn_mm.nothing')
    assert importlib.util.find_spec('ssn_mm.ops.nothing') is None


def test_a_training_goes_on_from_what_0_1_dumped_with_types_by_path_and_old_options(
    run_tool, tmp_path
):
    config = DUMPED.read_text()
    assert "'ssn_mm.datasets.segmentation'" in config
    by_path = {
        'SSNRadiusHook': 'radius_hook',
        'ReliabilityHook': 'reliability_hook',
        'SSNOptimWrapperConstructor': 'optim_constructor',
    }
    for name, module in by_path.items():
        assert f"'{name}'" in config
        config = config.replace(f"'{name}'", f"'ssn_mm.engine.{module}.{name}'")
    config = config.replace(".SSNRadiusHook'", ".SSNRadiusHook', choices='keep'")
    (tmp_path / 'dumped.py').write_text(config)
    command = [ROOT / 'tools/train.py', 'dumped.py', '--work-dir', 'run']
    code, said = run_tool(sys.executable, *command)
    assert code == 0, said[-3000:]
    assert 'ssn_mm.datasets.segmentation is now ssn_mm.datasets.digits.segmentation' in said
    assert 'ssn_mm.engine.radius_hook is now ssn_mm.engine.hooks.radius_hook' in said
    assert "choices='keep' is now selection='keep'" in said
    assert '44 of 44 ratios' in said
    again = (tmp_path / 'run/dumped.py').read_text()
    assert 'datasets.segmentation' in again
