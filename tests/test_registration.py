"""`import ssn_mm` is light, and all that it registers is found, whatever was imported before it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('mmseg')

ROOT = Path(__file__).parents[1]
HEAVY = {
    *('matplotlib', 'PIL', 'scipy', 'cv2', 'sklearn', 'torchvision', 'triton', 'onnx'),
    *('mmcv', 'mmseg', 'mmpretrain', 'mmaction'),
}
ORDERS = {
    'ssn_mm': '',
    'mmengine': 'import torch, mmengine',
    'runner': 'import mmengine.hooks, mmengine.runner, mmengine.model',
}
LOOK = """
import importlib, json, sys
FIRST
before = set(sys.modules)
import ssn_mm
loaded = sorted(set(sys.modules) - before)

import mmengine.model
from mmcv.cnn import build_norm_layer
from mmengine import registry
from ssn_mm.registration import PLACES

kinds = {(registry.WEIGHT_INITIALIZERS, 'Pretrained'): 'weights.pretrained'}
kinds |= {(root, name): place for root, places in PLACES.items() for name, place in places.items()}
kinds |= {(registry.MODELS, name): 'layers.switch_norm' for name in ('SSN', 'SN', 'SyncSSN')}
names = {id(value): name for name, value in vars(registry).items()}
for (root, name), place in kinds.items():
    own = getattr(importlib.import_module(f'ssn_mm.{place}'), name)
    assert root.get(name) is root.module_dict[name] is dict(root.module_dict.items())[name] is own
    for library in ('mmseg', 'mmpretrain', 'mmaction'):
        theirs = getattr(importlib.import_module(f'{library}.registry'), names[id(root)])
        assert theirs.get(name) is own, (library, name)
for name in ('SSN', 'SN', 'SyncSSN'):
    assert type(build_norm_layer(dict(type=name), 4)[1]) is getattr(ssn_mm, name)
print(json.dumps([loaded, [name for _, name in kinds]]))
"""


@pytest.mark.mmaction
@pytest.mark.parametrize(
    'first', ['ssn_mm', pytest.param('mmengine', marks=pytest.mark.long), 'runner']
)
def test_whatever_is_imported_first_every_registry_has_our_classes_and_nothing_heavy_is_loaded(
    first,
):
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', LOOK.replace('FIRST', ORDERS[first])],
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    loaded, found = json.loads(done.stdout.splitlines()[-1])
    assert not HEAVY & {name.partition('.')[0] for name in loaded}
    assert 'ssn_mm' in loaded
    assert 'mmengine.runner' not in loaded
    assert {'SSNRadiusHook', 'SSNOptimWrapperConstructor', 'Pretrained', 'SyncSSN'} <= set(found)
