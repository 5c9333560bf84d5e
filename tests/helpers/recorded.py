"""Ratios and results as trainings record them."""

import json

import numpy as np
import pytest

from ssn_mm.engine import Ratios
from ssn_mm.suites.results import Results
from ssn_mm.suites.training import pack

LAYERS = ['backbone.bn1', 'backbone.layer1.0.bn1', 'backbone.layer1.0.bn2', 'head.convs.0.bn']


def make_ratios(sparse=True, seed=0, names=('IN', 'LN', 'BN')):
    """Ten records that start in the centre; in the end one-hot if sparse."""
    size, layers = len(names), len(LAYERS)
    end = np.random.default_rng(seed).dirichlet(np.ones(size), (layers, 2))
    if sparse:
        end = np.eye(size)[end.argmax(-1)]
    share = np.linspace(0, 1, 10)[:, None, None, None]
    radius = np.linspace(0, 1, 10) if sparse else np.full(10, np.nan)
    path = (1 - share) / size + share * end
    return Ratios(LAYERS, list(names), np.arange(10, 110, 10), radius, path)


def make_row(label, variant, seed, value):
    """A run as a suite records it."""
    at = list(range(10, 110, 10))
    ratios = make_ratios(label == 'SSN', seed) if label in ('SN', 'SSN') else None
    provenance = dict(code='a', config=label, torch='2', mmengine='', mmsegmentation='')
    provenance |= dict(mmaction2='', mmpretrain='')
    return dict(
        suite='grid', run=f'{label}-{variant}-{seed}', label=label, variant=variant, seed=seed,
        status='done', seconds=60.0, metrics={'top-1': value}, seconds_per_iteration=0.1,
        memory=500, curves={'loss': [at, [10 / i for i in at]], 'top-1': [[50, 100], [1, value]]},
        ratios=pack(ratios) if ratios else None, provenance=provenance, data='d',
        environment=dict(device='CPU', cores=2, torch='2', python='3', ssn_mm='0', commit='c',
                         date='2026-01-01'),
    )  # fmt: skip


def log(folder, records, name='20260101_000000'):
    (folder / name / 'vis_data').mkdir(parents=True)
    lines = ''.join(json.dumps(record) + '\n' for record in records)
    (folder / name / 'vis_data/scalars.json').write_text(lines)


@pytest.fixture(name='make_ratios')
def _make_ratios():
    return make_ratios


def make_results():
    """Of three configs, two variants and three seeds; SSN is 5 above BN, SN as BN."""
    above = dict(BN=0, SN=0.1, SSN=5)
    own = dict(BN=(0, 0, 0), SN=(0.2, -0.2, 0), SSN=(-0.3, 0, 0.3))  # of each seed
    rows = [
        make_row(label, variant, seed, 50 + more + seed + own[label][seed] + (variant == '32'))
        for seed in range(3)
        for variant in ('2', '32')
        for label, more in above.items()
    ]
    return Results('grid', 'A grid', 'images', ['top-1'], rows, {'BN, 32': [76.4]})


@pytest.fixture
def results():
    return make_results()
