"""A normalizer that is added by its name alone is refused wherever nothing computes it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ssn_mm

SCRIPT = """
import json

import torch

from ssn_mm import SSN, MixedNorm, set_backend, set_radius
from ssn_mm.deploy import freeze
from ssn_mm.ops import NORMALIZERS, Logits, Norm, PerChannel, competing, selected_norm
from ssn_mm.ops.backends import mix

assert NORMALIZERS[-1] == 'RBN'
x, logits, norm = torch.randn(2, 4, 3, 3), torch.tensor([[0.0, 1.0]] * 2), Norm(('IN', 'RBN'))


def forward(backend):
    set_backend(backend)
    SSN(4, ('IN', 'RBN'))(x)


def selected():
    set_backend('cpu')
    selected_norm(x, logits, 'RBN', 'RBN', norm)


def frozen():
    layer = SSN(4, ('IN', 'RBN'))
    layer.ratio_logits.data.copy_(logits)
    layer.spatial_rank = 2
    set_radius(layer, 1.0)
    freeze(layer)


def triton():
    from ssn_mm.ops.backends import triton

    triton.mix(x[..., 0, 0], x[..., 0, 0] ** 2, Logits(logits), norm, PerChannel())


def earlier_state():
    state = MixedNorm(4, 'BN', 'GN', num_groups=2).state_dict()
    state['selected_codes'] = state['selected_codes'][:, :4]
    MixedNorm(4, 'BN', 'GN', num_groups=2).load_state_dict(state)


PLACES = {
    'fitting': lambda: competing(('IN', 'LN', 'RBN'), (2, 4), False),
    'the reference': lambda: forward('reference'),
    'mix._merge': lambda: forward('cpu'),
    'mix._average': lambda: mix._average('RBN', x[0, 0], x[0, 0], 1),
    'the C++ kernels': lambda: forward('cpp'),
    'triton': triton,
    'selected_norm': selected,
    'MixedNorm': lambda: MixedNorm(4, 'RBN', 'IN')(x),
    'plain_norm': frozen,
    'earlier_state': earlier_state,
}
said = {}
for place, run in PLACES.items():
    try:
        run()
    except Exception as error:
        said[place] = f'{type(error).__name__}: {error}'
print(json.dumps(said))
"""


def run(folder, script):
    env = os.environ | dict(PYTHONPATH=os.pathsep.join([str(folder), *sys.path]))
    command = [sys.executable, '-c', script]
    return subprocess.run(command, env=env, cwd=folder, timeout=300, capture_output=True, text=True)


def append(file, start, end, entry):
    """Adds an entry to the tuple or dictionary that a file has between ``start`` and ``end``."""
    held = f'({re.escape(start)}[^{end}]*){re.escape(end)}'
    text, count = re.subn(held, rf'\1, {entry}{end}', file.read_text())
    assert count == 1
    file.write_text(text)


@pytest.fixture(scope='module')
def named(tmp_path_factory):
    """A copy of the package whose names of normalizers have one more."""
    folder = tmp_path_factory.mktemp('named')
    shutil.copytree(Path(ssn_mm.__file__).parent, folder / 'ssn_mm')
    append(folder / 'ssn_mm/ops/normalizers.py', 'NORMALIZERS = (', ')', "'RBN'")
    return folder


@pytest.mark.compiler
def test_a_name_alone_is_refused_wherever_a_normalizer_is_computed(named):
    done = run(named, SCRIPT)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert 'earlier_state' not in said, said
    places = 'fitting', 'the reference', 'mix._merge', 'mix._average', 'selected_norm', 'MixedNorm'
    for place in (*places, 'the C++ kernels', 'triton', 'plain_norm'):
        refusal = said.get(place, 'nothing')
        if place != 'triton' or 'ModuleNotFoundError' not in refusal:
            assert refusal.startswith('NotImplementedError'), f'{place}: {refusal}'
            assert place in refusal, refusal
            assert "no case for the normalizer 'RBN'" in refusal, refusal


def test_a_name_that_tritons_plans_know_and_its_kernels_do_not_is_refused(named):
    pytest.importorskip('triton')
    plans = named / 'ssn_mm/ops/backends/triton/plans.py'
    before = plans.read_text()
    append(plans, '\nKINDS = {', '}', "'RBN': 99")
    try:
        done = run(named, SCRIPT)
    finally:
        plans.write_text(before)
    assert '_average has no case' in json.loads(done.stdout)['triton'], done.stderr


def test_a_normalizer_without_a_colour_is_refused(named):
    pytest.importorskip('matplotlib')
    done = run(named, 'import ssn_mm.visualization.picture')
    assert 'COLOURS = dict(zip(NORMALIZERS' in done.stderr
