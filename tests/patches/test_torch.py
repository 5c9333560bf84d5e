"""PyTorch's recalibration of batch norm, of which tests/layers/test_beside_torch.py has more."""

from torch.optim import swa_utils

import ssn_mm


def test_update_bn_is_ours_by_pytorchs_name_too():
    assert swa_utils.update_bn is ssn_mm.update_bn
