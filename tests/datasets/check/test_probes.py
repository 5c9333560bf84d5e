"""Single files, as inference looks at them."""

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from planted import cut, picture

from ssn_mm.datasets.check.probes import probe_image
from ssn_mm.datasets.reading import FaultError, checked_reading


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


def test_a_whole_picture_that_the_reader_cannot_read_is_told_with_what_can(tmp_path):
    import cv2

    file = str(tmp_path / 'heights.tif')
    cv2.imwrite(file, np.linspace(-1, 900, 63, dtype=np.float32).reshape(7, 9))
    load = LoadImageFromFile()
    with checked_reading(), pytest.raises(FaultError, match='whole picture of float32') as told:
        load(dict(img_path=file))
    (fault,) = probe_image(file)
    for said in (fault.what, str(told.value)):
        assert "imdecode_backend='cv2', color_type='unchanged' of LoadImageFromFile can" in said
    can = LoadImageFromFile(color_type='unchanged', imdecode_backend='cv2')
    assert can(dict(img_path=file))['img'].dtype == np.float32
