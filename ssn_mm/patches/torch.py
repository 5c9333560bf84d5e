"""What SSN and SN need of PyTorch beyond its own layers."""

from torch.optim import swa_utils

from ..layers.averaging import update_bn


def apply() -> None:
    """Replaces ``swa_utils.update_bn``, which would leave SSN and SN as they are."""
    vars(swa_utils)['update_bn'] = update_bn
