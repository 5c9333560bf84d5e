import tarfile

import pytest
import torch
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger

from ssn_mm.weights.files import check_checkpoint, is_intact

STATE = dict(meta=dict(iter=4), state_dict=dict(weight=torch.ones(3)), optimizer={})


def test_what_mmengine_publishes_is_taken_though_its_hash_is_of_something_else(
    tmp_path, monkeypatch
):
    said = []
    monkeypatch.setattr(MMLogger, 'log', lambda self, level, text, *_: said.append(text))
    torch.save(STATE, tmp_path / 'best_acc.pth')
    hook = CheckpointHook(published_keys=['meta', 'state_dict'])
    hook._publish_model(None, str(tmp_path / 'best_acc.pth'))
    (published,) = tmp_path.glob('best_acc-*.pth')
    check_checkpoint(published)
    if not published.stem[-8:].isdigit():  # else taken for a date
        assert any(f'{published} has the hash' in text for text in said)
    published.write_bytes(published.read_bytes()[:-20])
    with pytest.raises(ValueError, match='is damaged'):
        check_checkpoint(published)


@pytest.mark.parametrize('name', ['net-deadbeef.pth', 'net-1a2b3c4d.safetensors', 'n-00000000.pth'])
def test_names_of_others_that_end_in_digits_are_no_damage(tmp_path, name):
    torch.save(STATE, tmp_path / name, _use_new_zipfile_serialization=False)
    check_checkpoint(tmp_path / name)


def test_checkpoints_of_every_age_are_taken(tmp_path):
    torch.save(STATE, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    with tarfile.open(tmp_path / 'older.pth.tar', 'w') as archive:
        archive.add(tmp_path / 'old.pth')
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / 'without_checksums.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    (tmp_path / 'PK.safetensors').write_bytes(b'PK' + bytes(6) + b'{' + b' ' * 19280)
    for file in tmp_path.iterdir():
        check_checkpoint(file)
    file = tmp_path / 'without_checksums.pth'
    assert is_intact(file)
    file.write_bytes(file.read_bytes()[:-20])
    assert not is_intact(file)
