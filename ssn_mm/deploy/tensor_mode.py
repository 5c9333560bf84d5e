"""A network of the three libraries as a function of tensors; this file needs PyTorch alone."""

from typing import Any

from torch import Tensor, nn


class TensorMode(nn.Module):
    """An OpenMMLab model as a function from its preprocessed input to the output of its head."""

    model: Any

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        if is_a(self.model, 'BaseRecognizer'):
            features, settings = self.model.extract_feat(inputs, test_mode=True)
            outputs = self.model.cls_head(features, **settings)
        else:
            outputs = self.model(inputs, mode='tensor')
        # a head with several outputs, such as DANet's, predicts from the first; PyTorch 2.6 records
        # no list | tuple
        return outputs[0] if isinstance(outputs, (list, tuple)) else outputs


def is_a(model: nn.Module, name: str) -> bool:
    """Whether a model's class, or one that it derives from, has this name."""
    return any(base.__name__ == name for base in type(model).__mro__)
