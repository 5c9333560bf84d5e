"""Every patch is there for a fault that its library has without it; faults.py shows each."""

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import faults
import numpy
import pytest


def holds(package, pattern):
    return any(Path(find_spec(package).submodule_search_locations[0]).glob(pattern))


@pytest.fixture(scope='module')
def found():
    """What the libraries do without patches, in one interpreter, since their import takes long."""
    for package in faults.LIBRARIES:
        if not find_spec(package):
            pytest.skip(f'{package} is not installed')
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', faults.__file__],
        env=os.environ | {'PYTHONPATH': str(faults.ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_each_patch_has_a_fault_that_it_mends(found):
    assert found['patched'] == sorted(faults.ALL)


@pytest.mark.parametrize('module', faults.ALL)
def test_the_patch_is_needed(found, module):
    mended = found['mended'].get(module)
    if mended and module == 'torchvision':
        pytest.skip("torchvision's extension loads beside this PyTorch")
    if mended and module == 'mmcv.utils.ext_loader' and holds('mmcv', '_ext*'):
        pytest.skip('the full mmcv is installed')
    if mended and module == 'mmaction' and holds('mmaction', 'models/localizers/drn'):
        pytest.skip('this mmaction2 is from its repository')
    if mended and 'onedl-mmengine' in packages_distributions()['mmengine']:
        pytest.skip('the maintained fork has mended it')
    if mended and numpy.__version__.startswith('1.'):
        pytest.skip('numpy 1 has what the libraries call')
    assert not mended, f'{mended}\nthis patch of {module} is no longer needed: delete it'
