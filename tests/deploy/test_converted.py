"""Converted networks of other libraries are frozen, folded and exported."""

import pytest
import torch

import ssn_mm
from ssn_mm.deploy import OnnxProgram, TensorMode, export_onnx, export_program, fold, freeze
from ssn_mm.layers import switch_norms

torchvision = pytest.importorskip('torchvision')


def selected(name, **options):
    """A converted network whose layers have selected, in evaluation, and its input."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    ssn_mm.convert_norms(model, normalizers=('IN', 'LN', 'BN'))
    with torch.no_grad():
        for _, layer in switch_norms(model):
            layer.ratio_logits.normal_()
    ssn_mm.set_radius(model, 1.0)
    return model, torch.randn(2, 3, 64, 64)


@pytest.mark.exporter
def test_a_classifier_is_exported(tmp_path):
    pytest.importorskip('onnxruntime')
    model, images = selected('resnet18')
    expected = model(images)
    network = fold(freeze(model), images)
    export_onnx(network, images, tmp_path / 'model.onnx')
    program = OnnxProgram(tmp_path / 'model.onnx')
    torch.testing.assert_close(program(images), expected, atol=1e-4, rtol=1e-4)
    assert export_program(network, images, tmp_path / 'model.pt2') < 1e-4


def test_a_segmentor_gives_its_main_output():
    model, images = selected('lraspp_mobilenet_v3_large', weights_backbone=None)
    expected = model(images)['out']
    torch.testing.assert_close(
        TensorMode(fold(freeze(model), images))(images), expected, atol=1e-4, rtol=1e-4
    )
