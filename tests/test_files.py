"""Files that tools write."""

import errno
import os
import stat
from pathlib import Path

import pytest

from ssn_mm import files
from ssn_mm.files import (
    check_replaceable,
    check_writes,
    replacing,
    write_atomically,
    write_together,
)


def _alike(folder, kind):
    """Another name of ``folder``/model.pth."""
    file = folder / 'model.pth'
    if kind == 'same':
        return file
    if kind == 'relative':
        return Path(os.path.relpath(file))
    if kind == 'detour':
        (folder / 'deep').mkdir()
        return folder / 'deep/../model.pth'
    other = folder / 'other.pth'
    if kind == 'link':
        other.symlink_to(file)
    elif kind == 'hard link':
        other.hardlink_to(file)
    else:
        (folder / 'linked').symlink_to(folder)
        other = folder / 'linked/model.pth'
    return other


@pytest.mark.parametrize(
    'kind', ['same', 'relative', 'detour', 'link', 'hard link', 'linked folder']
)
def test_an_input_is_not_written_over_under_any_name(tmp_path, kind):
    (tmp_path / 'model.pth').write_text('weights')
    with pytest.raises(ValueError, match=r'would overwrite .*model\.pth, which is read'):
        check_writes([_alike(tmp_path, kind)], [tmp_path / 'model.pth'])
    check_writes([tmp_path / 'new.pth'], [tmp_path / 'model.pth'])


@pytest.mark.parametrize('second', ['a.pt2', './x/../a.pt2', 'linked/a.pt2'])
def test_two_outputs_are_not_written_to_one_file(tmp_path, monkeypatch, second):
    monkeypatch.chdir(tmp_path)
    Path('linked').symlink_to('.')
    with pytest.raises(ValueError, match=r'a\.pt2 and .* would be written to one file'):
        check_writes(['a.pt2', second])
    check_writes(['a.pt2', 'a.onnx', 'A.pt2'])  # two files, where there is a difference
    assert os.listdir() == ['linked']


def test_where_nothing_can_be_written_is_told_before_anything_is_done(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(ValueError, match='is a folder, a file is to be written'):
        check_writes([tmp_path])
    with pytest.raises(ValueError, match=r'file is a file, so nothing can be written to'):
        check_writes([tmp_path / 'file/deep/a.pth'])
    with pytest.raises(OSError, match=r'cannot write to /proc/none'):
        check_writes(['/proc/none/a.pth'])
    check_writes([tmp_path / 'new/folder/a.pth', '/dev/null', '/dev/null'])
    assert [file.name for file in tmp_path.iterdir()] == ['file']


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write everywhere')
def test_a_write_protected_file_is_not_replaced(tmp_path):
    (tmp_path / 'kept').touch(0o444)
    with pytest.raises(PermissionError, match='write-protected'):
        check_writes([tmp_path / 'kept'])


def test_a_folder_with_an_input_in_it_is_not_replaced(tmp_path, monkeypatch):
    (tmp_path / 'run/deep').mkdir(parents=True)
    (tmp_path / 'run/deep/iter_8.pth').touch()
    with pytest.raises(ValueError, match='run exists'):
        check_replaceable(tmp_path / 'run', False)
    with pytest.raises(ValueError, match=r'would delete .*iter_8\.pth, which is in use'):
        check_replaceable(tmp_path / 'run', True, [tmp_path / 'run/deep/iter_8.pth'])
    check_replaceable(tmp_path / 'run', True, [tmp_path / 'runner.pth'])
    monkeypatch.chdir(tmp_path / 'run')
    with pytest.raises(ValueError, match='would delete'):
        check_replaceable(Path(), True)


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path, monkeypatch):
    file = tmp_path / 'model.pth'
    file.write_bytes(b'old')

    def full(_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match=r'cannot write .*model\.pth: No space left on device; what'):
        write_atomically(file, b'new')
    assert (file.read_bytes(), len(list(tmp_path.iterdir()))) == (b'old', 1)


@pytest.mark.parametrize('failing', ['write', 'first move', 'second move'])
def test_files_that_belong_together_are_written_all_or_none(failing, tmp_path, monkeypatch):
    names = ('model.xml', 'model.bin', 'model.onnx')
    before, new = {}, {tmp_path / name: b'new' for name in names}
    for name in names[:2]:
        (tmp_path / name).write_bytes(b'old')
        before[tmp_path / name] = b'old'
    calls, original = [], files.replace

    def full(*args):
        calls.append(args)
        if len(calls) == (2 if failing == 'second move' else 1):
            raise OSError(errno.ENOSPC, 'No space left on device')
        original(*args)

    monkeypatch.setattr(*(os, 'fsync') if failing == 'write' else (files, 'replace'), full)
    with pytest.raises(OSError, match=r'model\.bin and .*: No space left on device; what'):
        write_together(new)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    monkeypatch.undo()
    write_together(new | {Path('/dev/null'): b'new'})
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == new


def test_a_full_disk_is_told_with_the_files_name():
    with pytest.raises(OSError, match='cannot write /dev/full: No space left on device'):
        write_atomically('/dev/full', b'new')
    write_atomically('/dev/null', b'new')
    assert stat.S_ISCHR(os.stat('/dev/null').st_mode)  # and not a file in its place


def test_links_modes_and_long_names_stay_as_they_are(tmp_path):
    (tmp_path / 'far').mkdir()
    (tmp_path / 'far/model.pth').touch(0o600)
    (tmp_path / 'model.pth').symlink_to('far/model.pth')
    write_atomically(tmp_path / 'model.pth', b'new')
    assert (tmp_path / 'model.pth').is_symlink()
    assert (tmp_path / 'far/model.pth').read_bytes() == b'new'
    assert stat.S_IMODE((tmp_path / 'far/model.pth').stat().st_mode) == 0o600
    longest = tmp_path / ('ü' * 125 + '.json')  # 255 bytes
    write_atomically(longest, b'new')
    assert longest.read_bytes() == b'new'


def test_what_a_block_had_begun_to_write_goes_with_its_error(tmp_path):
    file = tmp_path / 'new/video.mp4'

    def write():
        with replacing(file, '.mp4') as temporary:
            assert temporary.suffix == '.mp4'
            temporary.write_bytes(b'half')
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(file.parent.iterdir()) == []
