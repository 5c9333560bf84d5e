"""What the example of an export is like decides nothing of the file but its rank."""

import pytest
import torch
from file_forms import FORMS
from torch import nn
from torch.nn import functional as F

from ssn_mm.deploy import TorchProgram, export_onnx, export_program
from ssn_mm.deploy.compare import check_outputs
from ssn_mm.deploy.preprocessing import Preprocessing

pytest.importorskip('onnx')
pytest.importorskip('onnxscript')
pytest.importorskip('openvino')
pytestmark = pytest.mark.exporter
EXAMPLES = {
    'uint8': lambda x: (x.abs() * 50).to(torch.uint8),
    'float64': torch.Tensor.double,
    'channels_last': lambda x: x.to(memory_format=torch.channels_last),
    'sliced': lambda x: x.repeat(1, 1, 2, 2)[..., ::2, ::2],
}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()


@pytest.fixture
def same(tmp_path):
    """Exports a model by an example in a form, and compares it on inputs."""

    def check(name, model, example, inputs, **options):
        (export, program), file = FORMS[name], tmp_path / f'model.{name}'
        export(model, example, file, **options)
        expected = model(inputs)
        if own := options.get('preprocessing'):
            expected = model(own(inputs))
        found = program(file)(inputs)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    return check


@pytest.mark.parametrize('kind', EXAMPLES)
@pytest.mark.parametrize('name', FORMS)
def test_files_take_float32_whatever_the_example(name, kind, same):
    same(name, network(), EXAMPLES[kind](torch.randn(2, 3, 8, 8)), torch.randn(3, 3, 10, 9))


@pytest.mark.parametrize('name', FORMS)
def test_pixels_of_bytes_leave_room_for_fractions(name, same):
    own = Preprocessing(torch.full((3,), 120.0), torch.full((3,), 60.0), False)
    pixels = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    same(name, network(), pixels, torch.rand(2, 3, 8, 8) * 255, preprocessing=own)


@pytest.mark.parametrize('name', FORMS)
def test_a_network_in_channels_last_is_exported(name, same):
    model = network().to(memory_format=torch.channels_last)
    same(name, model, torch.randn(2, 3, 8, 8), torch.randn(1, 3, 7, 8))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('name', FORMS)
@pytest.mark.parametrize('shape', [(2, 3), (2, 3, 9)])
def test_vectors_and_signals_are_exported(name, shape, same):
    layer = nn.Linear(3, 4) if len(shape) == 2 else nn.Conv1d(3, 4, 3)
    model = nn.Sequential(layer, nn.ReLU()).eval()
    same(name, model, torch.randn(shape), torch.randn(5, *(s + s // 4 for s in shape[1:])))


def test_five_dimensions_that_are_no_segments_are_told(tmp_path):
    with pytest.raises(
        ValueError, match=r'\(2, 3, 4, 8, 8\) are taken for segments \(N, M, C, H, W\)'
    ):
        export_program(nn.Conv3d(3, 4, 3), torch.randn(2, 3, 4, 8, 8), tmp_path / 'model.pt2')
    assert not list(tmp_path.iterdir())


class Masked(nn.Module):
    def __init__(self, other=False):
        super().__init__()
        self.layer, self.other = nn.Conv2d(3, 4, 1), other

    def forward(self, x):
        scores = self.layer(x).mean((2, 3))
        return scores.masked_fill(torch.tensor([False, True, False, self.other]), -torch.inf)


def test_masked_scores_are_no_difference_and_other_masks_are(tmp_path):
    assert export_onnx(Masked().eval(), torch.randn(2, 3, 8, 8), tmp_path / 'm.onnx') < 1e-5
    with pytest.raises(ValueError, match=r'differ by inf'):
        check_outputs(Masked(True), Masked(), torch.randn(2, 3, 8, 8), 'the other')


class Rectified(nn.GroupNorm):
    """A norm with more in it, as timm's GroupNormAct."""

    def forward(self, x):
        return F.relu(super().forward(x))


class ByKeyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 8, 1), Rectified(2, 8)

    def forward(self, x):
        return self.norm(self.layer(input=x))


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_norms_with_more_in_them_and_keywords_are_exported(precision, tmp_path):
    out = tmp_path / 'model.pt2'
    export_program(ByKeyword().eval(), torch.randn(2, 3, 8, 8), out, precision=precision)
    assert TorchProgram(out)(torch.randn(1, 3, 8, 8)).min() >= 0


class Odd(nn.Module):
    def forward(self, x):
        if torch.compiler.is_compiling():
            raise RuntimeError('no such thing as this layer')
        return x


def test_what_an_exporter_cannot_follow_is_told_without_its_advice(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Odd()).eval()
    told = (
        r'^Odd \(1\) cannot be exported for any size \(RuntimeError: no such thing as this layer\);'
    )
    with pytest.raises(ValueError, match=told):
        export_onnx(model, torch.randn(2, 3, 8, 8), tmp_path / 'model.onnx')
