"""OpenVINO runs what is written for it, as PyTorch does."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from ssn_mm import SSN, set_radius
from ssn_mm.deploy import (
    OpenVinoProgram,
    TensorMode,
    export_openvino,
    fold,
    freeze,
    openvino_program,
)

pytest.importorskip('openvino')
pytest.importorskip('onnxscript')
pytestmark = pytest.mark.exporter
SIZES = [(2, 3, 24, 24), (1, 3, 40, 32), (5, 3, 17, 19)]
META = dict(task='mmpretrain', classes=['a', 'ß'])


def network():
    """A folded network whose layers selected BN, IN with LN, and LN with BN."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), SSN(8), nn.ReLU(), nn.Conv2d(8, 8, 3), SSN(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3), SSN(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    for layer, pair in zip((model[1], model[4], model[7]), ((2, 2), (0, 1), (1, 2)), strict=True):
        layer.ratio_logits.data.copy_(torch.eye(3)[list(pair)])
    model(torch.randn(SIZES[0]))
    set_radius(model, 1.0)
    return fold(freeze(model.eval()), torch.randn(SIZES[0]))


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp('openvino')
    model = network()
    assert export_openvino(model, torch.randn(SIZES[0]), folder / 'model.xml', META) < 1e-5
    assert sorted(file.name for file in folder.iterdir()) == ['model.bin', 'model.xml']
    return model, folder / 'model.xml'


def test_it_takes_any_batch_and_size_and_keeps_what_it_was_given(written):
    model, file = written
    program = OpenVinoProgram(file)
    assert program.meta == META | dict(precision='float32', preprocessing=None)
    found = {}
    for size in SIZES:
        x = torch.randn(size)
        found[size] = program(x), TensorMode(model)(x).detach()
    for ours, expected in found.values():  # a later call leaves earlier outputs alone
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_wrong_inputs_and_files_are_told(written, tmp_path):
    _, file = written
    with pytest.raises(ValueError, match=r'takes \[.*3.*\], got \(2, 4, 24, 24\)'):
        OpenVinoProgram(file)(torch.randn(2, 4, 24, 24))
    with pytest.raises(FileNotFoundError, match=r'no file .*none\.xml'):
        OpenVinoProgram(tmp_path / 'none.xml')
    alone = tmp_path / 'alone.xml'
    alone.write_bytes(file.read_bytes())
    with pytest.raises(FileNotFoundError, match=r'no file .*alone\.bin'):
        OpenVinoProgram(alone)
    alone.write_text('<net>')
    (tmp_path / 'alone.bin').write_bytes(b'')
    with pytest.raises(ValueError, match=r'alone\.xml is not a network that OpenVINO runs'):
        OpenVinoProgram(alone)


HANDLED = """
import signal, sys
from ssn_mm.deploy import OpenVinoProgram
first, second = OpenVinoProgram(sys.argv[1]), OpenVinoProgram(sys.argv[1])
del first
del second
signal.signal(signal.SIGTERM, lambda number, frame: print('handled'))
signal.raise_signal(signal.SIGTERM)
"""


def test_a_process_handles_signals_after_its_programs_are_gone(written):
    """Which OpenVINO ends by a segmentation fault where each program has a Core of its own."""
    command = [sys.executable, '-X', 'faulthandler', '-c', HANDLED, str(written[1])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'handled\n'), done.stderr


def test_without_the_package_it_says_what_to_install(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr('importlib.import_module', missing)
    with pytest.raises(ImportError, match=r'OpenVINO needs openvino: .*ssn-mm\[openvino\]'):
        openvino_program.require_openvino()


def test_outputs_that_differ_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(
        'ssn_mm.deploy.export.OpenVinoProgram', lambda _: lambda x: torch.zeros(len(x), 4)
    )
    with pytest.raises(ValueError, match='outputs of the OpenVINO program differ by'):
        export_openvino(network(), torch.randn(SIZES[0]), tmp_path / 'model.xml')
    assert not list(tmp_path.iterdir())
