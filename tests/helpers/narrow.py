"""The demos' networks, narrow enough for tests that only run them."""

from pathlib import Path
from uuid import uuid4

from ssn_mm.cli.config import load_config

ROOT = Path(__file__).parents[2]
DEMOS = ROOT / 'configs' / 'demo'
NARROW = {
    'resnet': {'model.backbone.base_channels': 8, 'model.head.in_channels': 32},
    'deeplab': {
        'model.backbone.base_channels': 8,
        'model.backbone.stem_channels': 8,
        'model.decode_head.in_channels': 64,
        'model.decode_head.channels': 8,
        'model.auxiliary_head.in_channels': 32,
        'model.auxiliary_head.channels': 8,
    },
    'i3d': {'model.backbone.base_channels': 4, 'model.cls_head.in_channels': 32},
}


def narrow(task):
    """The config of a demo: 'resnet', 'deeplab' or 'i3d'."""
    options = NARROW[task] | dict(experiment_name=str(uuid4()))
    return load_config(str(DEMOS / f'{task}_ssn_digits.py'), options=options)
