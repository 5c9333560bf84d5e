"""Batch norm by its running statistics, as constants, in training too.

They come with the weights that a training starts from; without any they are 0 and 1. γ and β learn,
as under OpenMMLab's ``norm_eval``.
"""

from typing import Any

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..record import Contestant
from ..registry import register_contestant


class FrozenBN(_BatchNorm):
    """Batch norm that stays in evaluation; maps have any number of spatial dimensions."""

    _abbr_ = 'bn'  # a name that weights of batch norm fit

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.eval()

    def train(self, mode: bool = True) -> Any:
        """Stays in evaluation, whatever is asked for."""
        return super().train(False)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f'FrozenBN takes maps (N, C, ...), got {tuple(input.shape)}')


register_contestant(
    Contestant(
        name='FrozenBN',
        layer=FrozenBN,
        norm_cfg=dict(type='FrozenBN'),
        cost='Nothing is measured; running statistics.',
        start=dict(weight=1, bias=0),
        deploys='It is folded into the convolution before it.',
        neighbours=[],
    )
)
