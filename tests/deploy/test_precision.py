"""Files in half precision: near float32 in every form, with statistics in float32."""

import copy

import pytest
import torch
from file_forms import FORMS
from torch import nn

from ssn_mm import MixedNorm
from ssn_mm.deploy import (
    TOLERANCES,
    export_onnx,
    export_program,
    openvino_program,
)

pytestmark = pytest.mark.exporter
# what half a unit in the last place of an output is, with room for sums
DIGITS = {'float32': 5e-3, 'float16': 2e-3, 'bfloat16': 8e-3}
CASES = [(p, form) for p in DIGITS for form in FORMS if (p, form) != ('bfloat16', 'onnx')]
PAIRS = [('BN', 'IN'), ('IN', 'LN'), ('LN', 'IN'), ('GN', 'LN'), ('IN', 'GN'), ('LN', 'BN')]


class Norms(nn.Module):
    """Norms of every kind, beside each other."""

    def __init__(self):
        super().__init__()
        mixed = (MixedNorm(8, *pair, num_groups=4) for pair in PAIRS)
        alone = (MixedNorm(8, name, name, num_groups=4) for name in ('IN', 'LN', 'GN'))
        plain = nn.InstanceNorm2d(8, affine=True), nn.GroupNorm(1, 8), nn.GroupNorm(4, 8)
        self.norms = nn.ModuleList([*mixed, *alone, *plain])

    def forward(self, x):
        return torch.cat([norm(x) for norm in self.norms], 1)


def form_of(name):
    if name != 'pt2':
        pytest.importorskip('onnxscript')
    if name == 'xml':
        pytest.importorskip('openvino')
    return FORMS[name]


@pytest.mark.parametrize(('precision', 'form'), CASES)
def test_variances_are_of_centred_maps_in_float32(precision, form, tmp_path, monkeypatch):
    """E[x²] - E[x]² leaves no digit of these maps, and squares of 10⁴ are beyond float16."""
    torch.manual_seed(0)
    dtype = getattr(torch, precision)
    model = Norms().eval()
    for norm in model.norms:
        if 'BN' in getattr(norm, 'mean', ()):
            norm.running_mean.fill_(100)
    export, program = form_of(form)
    monkeypatch.setitem(TOLERANCES, precision, 1e9)  # float64 is the reference here
    file = tmp_path / f'model.{form}'
    export(model, torch.randn(2, 8, 24, 24), file, precision=precision)
    run = program(file)
    spread = 1.0 if precision == 'float32' else 100.0  # half precision has steps of 8, and of 64
    for mean, std in ((1e4, spread), (100.0, 0.5), (0.0, 3e-3)):
        x = (torch.randn(2, 8, 37, 41) * std + mean).to(dtype).float()
        with torch.no_grad():
            expected = copy.deepcopy(model).double()(x.double())
        for layout in (torch.contiguous_format, torch.channels_last):
            found = run(x.contiguous(memory_format=layout)).double()
            assert found.dtype == torch.float64
            parts = zip(model.norms, found.split(8, 1), expected.split(8, 1), strict=True)
            for norm, ours, right in parts:
                error = ((ours - right).abs().max() / right.abs().max()).item()
                assert error < DIGITS[precision], f'{norm} at {mean} ± {std}: {error:.1e}'


class Small(nn.Module):
    """A network with a norm between two convolutions, a batch norm and a linear layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm = nn.Conv2d(3, 128, 3), MixedNorm(128, 'IN', 'LN')
        self.second, self.batch_norm = nn.Conv2d(128, 128, 3), nn.BatchNorm2d(128)
        self.last = nn.Linear(128, 4)
        self.register_buffer('position', torch.ones(1))  # float32 beside half precision

    def forward(self, x):
        x = self.norm(self.first(x)).relu() + self.position
        return self.last(self.batch_norm(self.second(x)).mean((2, 3)))


@pytest.mark.parametrize(('precision', 'form'), CASES)
def test_a_file_takes_and_gives_float32_and_holds_weights_in_its_precision(
    precision, form, tmp_path
):
    export, program = form_of(form)
    model, file = Small().eval(), tmp_path / f'model.{form}'
    difference = export(model, torch.randn(2, 3, 24, 24), file, dict(task='x'), precision)
    run = program(file)
    assert run.meta == dict(task='x', precision=precision, preprocessing=None)
    assert (difference > 1e-5) == (precision != 'float32')
    for shape in ((1, 3, 24, 24), (3, 3, 17, 31)):
        x = torch.randn(shape)
        found, expected = run(x), model(x).detach()
        assert found.dtype == torch.float32
        assert (found - expected).abs().max() < TOLERANCES[precision] * expected.abs().max()
    weights = 4 if precision == 'float32' else 2  # bytes of each
    held = file.with_suffix('.bin') if form == 'xml' else file
    count = sum(p.numel() for p in model.parameters())
    assert count * weights * 0.99 < held.stat().st_size < count * weights + 140_000
    assert all(p.dtype == torch.float32 for p in model.parameters())  # it is left as it was


def test_a_precision_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"one of float32, float16, bfloat16.*got 'half'"):
        export_program(Small().eval(), torch.randn(2, 3, 24, 24), tmp_path / 'f', precision='half')
    assert not list(tmp_path.iterdir())


def test_numbers_beyond_float16_are_told(tmp_path):
    model = Small().eval()
    nn.init.constant_(model.last.bias, 1e5)
    with pytest.raises(ValueError, match=r'differ by inf.* 0\.02 is accepted in float16.*65504'):
        export_program(model, torch.randn(2, 3, 24, 24), tmp_path / 'f', precision='float16')
    assert not list(tmp_path.iterdir())


def test_onnxruntime_is_asked_for_convolutions_before_anything_is_exported(tmp_path, monkeypatch):
    form_of('onnx')
    monkeypatch.setattr(torch.onnx, 'export', None)
    with pytest.raises(
        ValueError, match=r'onnxruntime cannot run bfloat16.*implementation for Conv'
    ):
        export_onnx(Small(), torch.randn(2, 3, 24, 24), tmp_path / 'f', precision='bfloat16')
    assert not list(tmp_path.iterdir())


def test_a_processor_without_bfloat16_is_refused_and_one_without_float16_told(monkeypatch):
    form_of('xml')

    class Core:
        def get_property(self, device, name):
            return {'OPTIMIZATION_CAPABILITIES': ['FP32'], 'FULL_DEVICE_NAME': 'Old '}[name]

    monkeypatch.setattr(openvino_program, 'openvino_core', Core)
    with pytest.raises(ValueError, match='no bfloat16 on this processor, Old,'):
        openvino_program.require_openvino('bfloat16')
    openvino_program.require_openvino('float16')
    assert openvino_program.computes_in('float16') == 'float32'
    assert openvino_program.computes_in('float32') == 'float32'
