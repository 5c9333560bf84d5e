"""What decoders take without a word is found, and what they read rightly is not refused."""

import io

import cv2
import mmcv
import numpy as np
import pytest
from mmengine.registry import DATASETS
from PIL import Image
from planted import video

from ssn_mm.datasets.damage import damage_of
from ssn_mm.datasets.reading import BrokenSampleError, checked_reading, load_sample

RNG = np.random.default_rng(0)
PIXELS = cv2.resize(RNG.integers(0, 256, (20, 30, 3), np.uint8), (240, 160))


def jpeg(pixels=PIXELS, **settings):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'JPEG', **settings)
    return file.getvalue()


def with_thumbnail():
    """A JPEG whose EXIF holds a whole JPEG."""
    exif = b'Exif\0\0' + jpeg(PIXELS[:40, :60])
    segment = b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif
    whole = jpeg()
    return whole[:2] + segment + whole[2:]


KINDS = {
    'plain': jpeg(),
    'progressive': jpeg(progressive=True),
    'restart markers': jpeg(restart_marker_rows=1),
    'grey': jpeg(PIXELS[..., 0]),
    'noise': jpeg(RNG.integers(0, 256, PIXELS.shape, np.uint8), quality=100),
    'thumbnail': with_thumbnail(),
}


@pytest.mark.parametrize('kind', KINDS)
def test_a_jpeg_cut_anywhere_is_damaged_and_a_whole_one_is_not(kind):
    whole = KINDS[kind]
    assert mmcv.imfrombytes(whole) is not None
    assert damage_of(whole) == ''
    for length in np.linspace(2, len(whole) - 1, 300).astype(int):
        assert damage_of(whole[:length]) == f'the file is cut short at {length} bytes'


@pytest.mark.parametrize(
    'trailer',
    [b'\0' * 10_000, b'\xff' * 5000, jpeg()[:-2], b'....ftypmp42' + RNG.bytes(20_000)],
    ids=['padding', 'fill bytes', 'a second picture, cut', 'a video'],
)
def test_a_whole_jpeg_is_taken_whatever_follows_its_end(trailer):
    for whole in KINDS.values():
        assert damage_of(whole + trailer) == ''
        np.testing.assert_array_equal(mmcv.imfrombytes(whole + trailer), mmcv.imfrombytes(whole))


def test_what_decoders_refuse_themselves_is_left_to_them():
    for ending in ('.png', '.bmp', '.webp', '.tif'):
        data = cv2.imencode(ending, PIXELS)[1].tobytes()
        for part in (data, data[: len(data) // 2], data + b'\0' * 9000, b''):
            assert damage_of(part) == ''
    assert damage_of(memoryview(jpeg())) == ''  # as petrel's client gives it


def test_bytes_of_any_file_client_are_checked_and_the_libraries_are_left_as_they_were():
    before = mmcv.imfrombytes, mmcv.transforms.LoadAnnotations.transform
    half = jpeg()[:5000]
    with checked_reading():
        for read in (mmcv.imfrombytes, mmcv.image.imfrombytes):
            with pytest.raises(ValueError, match='cut short at 5000 bytes'):
                read(half)
    assert (mmcv.imfrombytes, mmcv.transforms.LoadAnnotations.transform) == before


@pytest.fixture
def scenes(tmp_path):
    """A picture, its annotation, and mmsegmentation's dataset over them, with other settings."""
    import mmseg.datasets  # noqa: F401

    (tmp_path / 'images').mkdir()
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'images/0.jpg').write_bytes(jpeg())
    cv2.imwrite(str(tmp_path / 'labels/0.png'), np.full((160, 240), 1, np.uint8))

    def dataset(*steps, **settings):
        node = dict(
            type='BaseSegDataset', _scope_='mmseg', data_root=str(tmp_path),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            metainfo=dict(classes=('a', 'b')), pipeline=list(steps),
        )  # fmt: skip
        return DATASETS.build(node | settings)

    return tmp_path, dataset


LOAD, LABELS = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')
PACK = dict(type='PackSegInputs')


def broken(dataset):
    with pytest.raises(BrokenSampleError) as error:
        load_sample(dataset, 0, lambda sample: None)
    return error.value


def test_an_annotation_that_nothing_reads_may_be_missing_or_broken(scenes):
    root, dataset = scenes
    (root / 'labels/0.png').write_bytes(b'nothing')
    load_sample(dataset(LOAD, PACK), 0, lambda sample: None)
    assert broken(dataset(LOAD, LABELS, PACK)).kind == 'unreadable'
    (root / 'labels/0.png').unlink()
    load_sample(dataset(LOAD, PACK), 0, lambda sample: None)
    error = broken(dataset(LOAD, LABELS, PACK))
    assert (error.kind, error.file) == ('missing file', str(root / 'labels/0.png'))


@pytest.mark.parametrize('resized', [False, True])
def test_an_annotation_of_another_size_than_its_picture_is_named(scenes, resized):
    root, dataset = scenes
    cv2.imwrite(str(root / 'labels/0.png'), np.full((80, 120), 1, np.uint8))
    resize = [dict(type='Resize', scale=(48, 32))] if resized else []
    error = broken(dataset(LOAD, *resize, LABELS, PACK))
    assert (error.kind, error.file) == ('sizes differ', str(root / 'labels/0.png'))
    assert 'is 120x80, its image' in error.what
    assert error.what.endswith('is 240x160')


def test_an_annotation_beyond_8_bits_is_named_and_does_not_wrap_around(scenes):
    root, dataset = scenes
    cv2.imwrite(str(root / 'labels/0.png'), np.full((160, 240), 257, np.uint16))
    assert 'holds values 257..257' in broken(dataset(LOAD, LABELS, PACK)).what
    cv2.imwrite(str(root / 'labels/0.png'), np.full((160, 240), 1, np.uint16))
    load_sample(dataset(LOAD, LABELS, PACK), 0, lambda sample: None)


def test_a_loader_that_allows_missing_pictures_takes_another(scenes):
    root, dataset = scenes
    (root / 'images/1.jpg').write_bytes(jpeg()[:3000])
    data = dataset(LOAD | dict(ignore_empty=True), PACK)
    assert len(data) == 2
    sample = load_sample(data, 1, lambda sample: None)
    assert sample['data_samples'].img_path.endswith('0.jpg')


@pytest.mark.mmaction
def test_a_folder_of_frames_names_the_frame_that_is_cut_short(tmp_path):
    import mmaction.datasets  # noqa: F401

    for number in range(1, 5):
        (tmp_path / 'a').mkdir(exist_ok=True)
        (tmp_path / f'a/img_{number:05}.jpg').write_bytes(jpeg()[: 4000 if number == 3 else None])
    (tmp_path / 'list.txt').write_text('a 4 0')
    steps = [
        dict(type='SampleFrames', clip_len=4, num_clips=1),
        dict(type='RawFrameDecode'),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs'),
    ]
    node = dict(type='RawframeDataset', _scope_='mmaction', ann_file=str(tmp_path / 'list.txt'))
    error = broken(DATASETS.build(node | dict(data_prefix=dict(img=str(tmp_path)), pipeline=steps)))
    assert error.file == str(tmp_path / 'a/img_00003.jpg')
    assert error.what == 'the file is cut short at 4000 bytes'
    (tmp_path / 'a/img_00003.jpg').unlink()
    error = broken(DATASETS.build(node | dict(data_prefix=dict(img=str(tmp_path)), pipeline=steps)))
    assert (error.kind, error.file) == ('missing file', str(tmp_path / 'a/img_00003.jpg'))


@pytest.mark.mmaction
def test_a_video_whose_name_lacks_an_ending_is_read_as_mmaction_completes_it(tmp_path):
    import mmaction.datasets  # noqa: F401

    video(tmp_path / 'a.mp4')
    (tmp_path / 'list.txt').write_text('a 0')
    steps = [
        dict(type='DecordInit'),
        dict(type='SampleFrames', clip_len=4, num_clips=1),
        dict(type='DecordDecode'),
        dict(type='FormatShape', input_format='NCTHW'),
        dict(type='PackActionInputs'),
    ]
    node = dict(type='VideoDataset', _scope_='mmaction', ann_file=str(tmp_path / 'list.txt'))
    data = DATASETS.build(node | dict(data_prefix=dict(video=str(tmp_path)), pipeline=steps))
    assert load_sample(data, 0, lambda sample: None)['inputs'].shape == (1, 3, 4, 48, 64)
