"""Single files, as inference looks at them."""

import pytest
from planted import cut, picture

from ssn_mm.datasets.probes import probe_image


def test_grey_palette_and_transparent_images_are_as_good_as_any(tmp_path):
    from PIL import Image

    for mode in ('1', 'L', 'P', 'RGBA', 'I;16'):
        Image.new(mode, (9, 7)).save(tmp_path / 'a.png')
        assert probe_image(str(tmp_path / 'a.png')) == []
    Image.new('CMYK', (9, 7)).save(tmp_path / 'a.jpg')
    assert probe_image(str(tmp_path / 'a.jpg')) == []


@pytest.mark.parametrize('name', ['a.jpg', 'a.png'])
def test_a_picture_cut_off_is_unreadable(tmp_path, name):
    file = tmp_path / name
    picture(file)
    cut(file, 0.9)
    (fault,) = probe_image(str(file))
    assert (fault.kind, fault.file) == ('unreadable', str(file))
    file.write_bytes(b'')
    assert [fault.kind for fault in probe_image(str(file))] == ['zero bytes']
