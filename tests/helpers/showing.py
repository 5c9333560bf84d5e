"""What the faults of ``faults.py`` are shown with."""

import os
import warnings
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

OURS = dict(type='SSN')
THIN = dict(depth=18, base_channels=8, norm_cfg=OURS)


class NoFaultError(Exception):
    """A fault that a patch is for has not shown."""


@contextmanager
def raises(kind, part):
    """Expects an error whose type is of this name, and whose message has this part."""
    try:
        yield
    except Exception as error:
        kinds = [base.__name__ for base in type(error).__mro__]
        if kind not in kinds or part not in str(error):
            raise NoFaultError(f'expected {kind} with {part!r}, found {error!r}') from error
    else:
        raise NoFaultError(f'expected {kind} with {part!r}, and nothing was raised')


def shows(fault):
    if not fault:
        raise NoFaultError


@contextmanager
def nothing_said():
    """Expects that there is no warning."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        yield
    shows(not said)


def bomb():
    """A pickled file that names a function."""
    from io import BytesIO
    from pickle import dumps

    return BytesIO(dumps(os.system))


def calls(library, file, text):
    """Says whether a library's file still has this text."""
    return text in (Path(import_module(library).__file__).parent / file).read_text()


def ssn(channels=4):
    return import_module('ssn_mm').SSN(channels)


def one_layer(layer):
    import torch

    return torch.nn.Sequential(layer)


def saved(net, prefix=''):
    """A file with a network's state."""
    import torch

    state = {f'{prefix}{key}': value for key, value in net.state_dict().items()}
    torch.save({'state_dict': state}, 'flat.pth')
    return 'flat.pth'


def saved_resnet():
    """A 2D ResNet of batch norm, under torchvision's names."""
    from mmpretrain.models import ResNet

    return saved(ResNet(18, base_channels=8, stem_channels=8))


def trains_on(net):
    """Whether SSN under ``norm_eval`` stays in training mode."""
    net.train()
    layers = [layer for layer in net.modules() if type(layer).__name__ == 'SSN']
    return layers and all(layer.training for layer in layers)


def refuses_to_start(net, kind, part):
    """Expects an error, as ``raises`` does, where a network takes its first weights."""
    with raises(kind, part):
        net.init_weights()
