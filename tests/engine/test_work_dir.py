import os

import pytest
import torch

from ssn_mm.engine.work_dir import WorkDir


@pytest.mark.parametrize('made', ['frozen', 'recalibrated'])
def test_what_a_tool_made_of_a_checkpoint_is_none_to_resume_from(tmp_path, made):
    torch.save(dict(state_dict={}), tmp_path / 'iter_8.pth')
    torch.save(dict(state_dict={}), tmp_path / f'iter_8.{made}.pth')
    os.utime(tmp_path / 'iter_8.pth', (1, 1))  # older
    assert WorkDir(tmp_path).newest_intact() == str(tmp_path / 'iter_8.pth')


def test_what_a_killed_training_had_begun_to_write_is_removed_and_nothing_else(tmp_path):
    newest = tmp_path / 'iter_2.pth'
    torch.save(dict(weight=torch.ones(3)), newest)
    begun = ('.iter_4.pth.123.tmp', '.best_acc_iter_4.pth.9.tmp', '.last_checkpoint.77.tmp')
    begun += ('.ssn_ratios.jsonl.5.tmp',)
    others = ('.iter_4.pth.tmp', '.notes.1.tmp', 'iter_4.pth.1.tmp')
    for name in (*begun, *others):
        (tmp_path / name).write_bytes(b'half')
    assert WorkDir(tmp_path).newest_intact() == str(newest)
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {newest.name, 'last_checkpoint', *others}
