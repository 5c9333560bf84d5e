"""What a library asks of batch norm, answered by SSN and SN, too."""

from types import ModuleType
from typing import Any

from torch.nn.modules.batchnorm import _BatchNorm

from ..layers import SwitchNorm


class _HasRunningStatistics(type):
    def __instancecheck__(cls, module: Any) -> bool:
        ours = isinstance(module, SwitchNorm) and module.running_mean is not None
        return ours or isinstance(module, _BatchNorm)


class WithRunningStatistics(metaclass=_HasRunningStatistics):
    """Batch norm, and SSN and SN with 'BN' or 'FBN' among their normalizers."""


def count_in(module: ModuleType) -> None:
    """Lets what a module does with batch norm hold for SSN and SN, too.

    Args:
        module: A module that asks for ``_BatchNorm`` by this name, which nothing imports from it.
    """
    vars(module)['_BatchNorm'] = WithRunningStatistics
