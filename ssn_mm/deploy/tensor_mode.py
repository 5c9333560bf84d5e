"""A network as a function of tensors; this file needs PyTorch alone."""

from typing import Any

from torch import Tensor, nn


class TensorMode(nn.Module):
    """A model as a function from its preprocessed input to one output, that of its head.

    OpenMMLab's models are called in their mode 'tensor', others as they are. Of several outputs,
    as heads such as DANet's have them, the first is taken; of torchvision's segmentors, ``out``.
    """

    model: Any

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        if is_a(self.model, 'BaseRecognizer'):
            features, settings = self.model.extract_feat(inputs, test_mode=True)
            outputs = self.model.cls_head(features, **settings)
        elif is_a(self.model, 'BaseModel'):
            outputs = self.model(inputs, mode='tensor')
        else:
            outputs = self.model(inputs)
            outputs = outputs['out'] if isinstance(outputs, dict) else outputs
        # PyTorch 2.6 records no list | tuple
        return outputs[0] if isinstance(outputs, (list, tuple)) else outputs


def is_a(model: nn.Module, name: str) -> bool:
    """Whether a model's class, or one that it derives from, has this name."""
    return any(base.__name__ == name for base in type(model).__mro__)
