import os

import pytest

from ssn_mm.engine.atomic_backend import AtomicBackend


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path, monkeypatch):
    path, backend = tmp_path / 'new' / 'iter_1.pth', AtomicBackend()
    backend.put(b'whole', path)

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'fsync', die)
    with pytest.raises(KeyboardInterrupt):
        backend.put(b'half', path)
    assert path.read_bytes() == b'whole'
    assert list(path.parent.iterdir()) == [path]


def test_text_is_written_too(tmp_path):
    AtomicBackend().put_text('é', tmp_path / 'a.txt')
    assert (tmp_path / 'a.txt').read_text() == 'é'
