"""Writes a frozen network as a program that runs without this package."""

from pathlib import Path

import torch
from torch import Tensor, nn


class TensorMode(nn.Module):
    """An OpenMMLab model as a function of its preprocessed input alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        # of clips (N, M, C, T, H, W) mmaction2 would return what the backbone found
        stage = {'stage': 'head'} if inputs.dim() == 6 else {}
        return self.model(inputs, mode='tensor', **stage)


def export_program(model: nn.Module, inputs: Tensor, out: str | Path) -> float:
    """Exports an OpenMMLab model with torch.export and runs the file once, to compare.

    ``torch.export.load(out).module()(inputs)`` then needs PyTorch alone.

    Args:
        model: In evaluation, frozen.
        inputs: Preprocessed images (N, 3, H, W), or clips (N, M, 3, T, H, W), whose scores are
            (N * M, classes); the program takes this shape.
        out: File to write, .pt2.

    Returns:
        Largest absolute difference between the program's output and the model's.
    """
    function = TensorMode(model).eval()
    with torch.no_grad():
        expected = function(inputs)
        torch.export.save(torch.export.export(function, (inputs,)), str(out))
        loaded = torch.export.load(str(out)).module()(inputs)
    return (loaded - expected).abs().max().item()
