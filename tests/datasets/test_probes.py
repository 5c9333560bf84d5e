"""Single files, as inference looks at them."""

import pytest
from planted import cut, picture, video

from ssn_mm.datasets.probes import probe_image, probe_video
from ssn_mm.datasets.reading import Fault


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


def test_a_video_that_is_none_is_told_in_one_line(tmp_path):
    file = tmp_path / 'a.mp4'
    file.write_text('not a video')
    (fault,) = probe_video(str(file))
    assert (fault.kind, fault.file) == ('unreadable', str(file))
    assert '\n' not in fault.what
    assert probe_video('gone.mp4') == [Fault('missing file', 'gone.mp4', 'the file is missing')]
    video(tmp_path / 'b.mp4')
    assert probe_video(str(tmp_path / 'b.mp4')) == []
