import cv2
import numpy as np
import pytest

from ssn_mm.datasets.probes import Fault, label_table, probe_image, probe_video


@pytest.mark.parametrize('reduce', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 255, 1: 0, 2: 1, 149: 7}])
def test_the_label_table_is_what_mmsegmentation_does(tmp_path, reduce, label_map):
    from mmseg.datasets.transforms import LoadAnnotations

    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    cv2.imwrite(str(tmp_path / 'all.png'), values)
    results = dict(seg_map_path=str(tmp_path / 'all.png'), seg_fields=[])
    results |= dict(reduce_zero_label=reduce, label_map=label_map)
    loaded = LoadAnnotations()(results)['gt_seg_map']
    np.testing.assert_array_equal(label_table(reduce, label_map)[values], loaded)


@pytest.mark.parametrize('quality', [30, 95])
@pytest.mark.parametrize('share', [0.02, 0.3, 0.97])
def test_a_jpeg_cut_off_anywhere_is_unreadable_where_opencv_fills_up(tmp_path, quality, share):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    data = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    file = tmp_path / 'a.jpg'
    file.write_bytes(data)
    assert probe_image(str(file)) == []
    file.write_bytes(data[: int(share * len(data))])
    (fault,) = probe_image(str(file))
    assert (fault.kind, fault.file) == ('unreadable', str(file))


def test_grey_palette_and_transparent_images_are_as_good_as_any(tmp_path):
    from PIL import Image

    for mode in ('1', 'L', 'P', 'RGBA', 'I;16'):
        Image.new(mode, (9, 7)).save(tmp_path / 'a.png')
        assert probe_image(str(tmp_path / 'a.png')) == []
    Image.new('CMYK', (9, 7)).save(tmp_path / 'a.jpg')
    assert probe_image(str(tmp_path / 'a.jpg')) == []


def test_a_video_that_is_none_is_told_in_one_line(tmp_path):
    file = tmp_path / 'a.mp4'
    file.write_text('not a video')
    (fault,) = probe_video(str(file))
    assert (fault.kind, fault.file) == ('unreadable', str(file))
    assert '\n' not in fault.what
    assert probe_video('gone.mp4') == [Fault('missing file', 'gone.mp4', 'is missing')]
