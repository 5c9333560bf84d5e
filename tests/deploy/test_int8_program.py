"""int8 in PyTorch's own programs: run by PyTorch alone, with kernels of integers once compiled."""

import sys

import pytest
import torch
from small_residual import BN, IN, SIZE, network, ratio, samples
from torch import nn

from ssn_mm.deploy import TorchProgram, export_program, int8_program

pytest.importorskip('torchao')
pytestmark = pytest.mark.exporter
ALONE = """
import sys
import torch
import torch.ao.quantization.fx._decomposed
program = torch.export.load(sys.argv[1]).module()
print(tuple(program(torch.randn(3, 3, 40, 32)).shape))
print([name for name in ('torchao', 'ssn_mm') if name in sys.modules])
"""


def int8(model, out, **options):
    options = dict(precision='int8', calibration=samples()) | options
    return export_program(model, torch.randn(SIZE), out, **options)


def quantized_weights(program):
    """How many layers of a program have weights in int8."""
    nodes = program._module.graph.nodes
    return sum('dequantize_per_channel' in str(node.target) for node in nodes)


def test_a_mix_is_in_int8_but_for_its_norms(tmp_path):
    model = network(BN, IN, BN)
    assert int8(model, tmp_path / 'model.pt2') < 0.1
    program = TorchProgram(tmp_path / 'model.pt2')
    assert program.meta['precision'] == 'int8'
    assert quantized_weights(program) == 4
    assert ratio(program, model) > 20
    inside = [
        str(node.target)
        for node in program._module.graph.nodes
        if 'MixedNorm' in str(node.meta.get('nn_module_stack'))
    ]
    assert not any('quantize' in target for target in inside)


def test_pytorch_alone_runs_the_file(tmp_path, run_alone):
    int8(network(BN, BN, IN), tmp_path / 'model.pt2')
    code, told = run_alone(sys.executable, '-c', ALONE, tmp_path / 'model.pt2')
    assert code == 0, told
    assert told.splitlines()[-2:] == ['(3, 4)', '[]']


@pytest.mark.compiler
def test_compiled_it_computes_with_integers(tmp_path):
    model = network(BN, BN, BN)
    int8(model, tmp_path / 'model.pt2')
    program = TorchProgram(tmp_path / 'model.pt2')
    inputs = torch.randn(SIZE)
    with torch.no_grad(), torch._inductor.config.patch(freezing=True):
        compiled, (code, *_) = torch._inductor.utils.run_and_get_code(
            torch.compile(program._module), inputs
        )
    assert 'qconv' in code
    torch.testing.assert_close(compiled, program(inputs), rtol=0.05, atol=0.05)


def test_what_pytorch_has_no_kernel_for_is_told_and_not_written(tmp_path):
    model = nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.ReLU()).eval()
    with pytest.raises(ValueError, match='neither a convolution of rank 2 nor a linear layer'):
        int8(model, tmp_path / 'model.pt2')
    assert not list(tmp_path.iterdir())


def test_without_torchao_it_says_what_to_install(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr('importlib.import_module', missing)
    with pytest.raises(ImportError, match=r'int8 needs torchao: .*ssn-mm\[int8\]'):
        int8_program.require_torchao()
