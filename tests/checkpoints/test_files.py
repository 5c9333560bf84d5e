import os

import pytest
import torch

from ssn_mm.checkpoints.files import point_to_intact


@pytest.mark.parametrize('made', ['frozen', 'recalibrated'])
def test_what_a_tool_made_of_a_checkpoint_is_none_to_resume_from(tmp_path, made):
    torch.save(dict(state_dict={}), tmp_path / 'iter_8.pth')
    torch.save(dict(state_dict={}), tmp_path / f'iter_8.{made}.pth')
    os.utime(tmp_path / 'iter_8.pth', (1, 1))  # older
    assert point_to_intact(tmp_path) == str(tmp_path / 'iter_8.pth')
