"""Broken data: named, and skipped or an end, whatever the task and however it is loaded."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS, DefaultScope
from torch.utils.data import DataLoader

from ssn_mm.datasets.check.sample_check import SampleCheck
from ssn_mm.datasets.digits.video import MOTIONS, write_videos
from ssn_mm.engine.data.samples import BrokenSampleError, NamingCollate, Samples, seed_everything

CHECK = SampleCheck(classes=4, channels=3)


def scope(name):
    DefaultScope.get_instance(f'samples-{name}', scope_name=name)


@pytest.fixture
def pictures(tmp_path):
    """Six pictures of four classes, as mmpretrain's list of files."""
    rng = np.random.default_rng(0)
    for index in range(6):
        picture = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (160, 120))
        cv2.imwrite(str(tmp_path / f'{index}.jpg'), picture)
    lines = [f'{index}.jpg {index % 4}' for index in range(6)]
    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    scope('mmpretrain')
    return tmp_path


def classification(root, color='color'):
    import mmpretrain.datasets  # noqa: F401

    return DATASETS.build(
        dict(
            _scope_='mmpretrain',
            type='CustomDataset',
            data_root=str(root),
            ann_file='list.txt',
            pipeline=[
                dict(type='LoadImageFromFile', color_type=color),
                dict(type='Resize', scale=(32, 32)),
                dict(type='PackInputs'),
            ],
        )
    )


@pytest.fixture
def scenes(tmp_path):
    """Four scenes and their label maps, as mmsegmentation's folders."""
    rng = np.random.default_rng(0)
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    for index in range(4):
        cv2.imwrite(str(tmp_path / f'images/{index}.jpg'), rng.integers(0, 256, (40, 60, 3)))
        labels = rng.choice([0, 1, 2, 3, 255], (40, 60)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f'labels/{index}.png'), labels)
    scope('mmseg')
    return tmp_path


def segmentation(root):
    import mmseg.datasets  # noqa: F401

    return DATASETS.build(
        dict(
            _scope_='mmseg',
            type='BaseSegDataset',
            data_root=str(root),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            metainfo=dict(classes=tuple('abcd')),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations'),
                dict(type='PackSegInputs'),
            ],
        )
    )


def cut(file, share=0.5):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


PICTURES = {
    'cut short': (lambda f: cut(f), r'is cut short at \d+ bytes'),
    'zero bytes': (lambda f: f.write_bytes(b''), 'the file is empty'),
    'no picture': (lambda f: f.write_bytes(b'not a picture at all'), ''),
    'missing': (lambda f: f.unlink(), 'the file is missing'),
}


@pytest.mark.parametrize('fault', PICTURES)
def test_a_broken_picture_stops_with_its_name_or_another_takes_its_place(pictures, fault):
    spoil, message = PICTURES[fault]
    spoil(pictures / '2.jpg')
    samples = Samples(classification(pictures), CHECK)
    assert samples[1]['inputs'].shape == (3, 32, 32)
    with pytest.raises(BrokenSampleError, match=rf'2\.jpg: .*{message}'):
        samples[2]
    samples.broken = 'skip'
    assert samples[2]['inputs'].shape == (3, 32, 32)


@pytest.mark.parametrize('workers', [0, 2])
def test_a_loader_passes_on_the_name_and_neither_hangs_nor_goes_on(pictures, workers):
    cut(pictures / '3.jpg')
    loader = DataLoader(
        Samples(classification(pictures), CHECK), 2, num_workers=workers, collate_fn=list
    )
    batches = iter(loader)
    assert len(next(batches)) == 2
    with pytest.raises(BrokenSampleError, match=r'3\.jpg: the file is cut short'):
        next(batches)


def test_a_label_that_is_no_class_and_a_picture_of_other_channels_are_named(pictures):
    lines = (pictures / 'list.txt').read_text().replace('5.jpg 1', '5.jpg 7')
    (pictures / 'list.txt').write_text(lines)
    cv2.imencode('.png', np.zeros((40, 60, 4), np.uint8))[1].tofile(pictures / '1.jpg')
    samples = Samples(classification(pictures, 'unchanged'), CHECK)
    with pytest.raises(BrokenSampleError, match=r'5\.jpg: the list has label 7; classes are 0..3'):
        samples[5]
    with pytest.raises(BrokenSampleError, match=r'1\.jpg: has 4 channels'):
        samples[1]


def test_pictures_that_cannot_be_one_batch_are_named(pictures):
    cv2.imwrite(str(pictures / '1.jpg'), np.zeros((40, 60), np.uint8))
    samples = Samples(classification(pictures, 'unchanged'), CHECK)
    loader = DataLoader(samples, 3, collate_fn=NamingCollate(default_collate))
    told = r'0\.jpg has shape \(3, 32, 32\).*1\.jpg has shape \(1, 32, 32\)|1\.jpg.*0\.jpg'
    with pytest.raises(BrokenSampleError, match=told):
        next(iter(loader))


SCENES = {
    'label': (lambda f: cv2.imwrite(str(f), np.full((40, 60), 9, np.uint8)), 'label 9; classes'),
    'colours': (lambda f: cv2.imwrite(str(f), np.zeros((40, 60, 3), np.uint8)), 'has shape'),
    'cut short': (lambda f: cut(f), 'truncated'),
    'missing': (lambda f: f.unlink(), 'the file is missing'),
}


@pytest.mark.parametrize('fault', SCENES)
def test_a_broken_annotation_is_named(scenes, fault):
    spoil, message = SCENES[fault]
    dataset = segmentation(scenes)
    spoil(scenes / 'labels/1.png')
    samples = Samples(dataset, CHECK)
    assert samples[0]['data_samples'].gt_sem_seg.data.max() == 255  # ignored, no fault
    with pytest.raises(BrokenSampleError, match=rf'labels/1\.png: .*{message}'):
        samples[1]


def test_a_video_without_frames_is_named(tmp_path):
    import mmaction.datasets  # noqa: F401

    scope('mmaction')
    write_videos(tmp_path, num_train=8, num_val=8, frames=8, progress=False)
    (video, *_) = sorted((tmp_path / 'videos_train').rglob('*.mp4'))
    reader = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*'mp4v'), 15, (64, 64))
    reader.release()  # a container, no frame
    dataset = DATASETS.build(
        dict(
            _scope_='mmaction',
            type='VideoDataset',
            ann_file=str(tmp_path / 'digits_train_list_videos.txt'),
            data_prefix=dict(video=str(tmp_path / 'videos_train')),
            pipeline=[
                dict(type='DecordInit'),
                dict(type='SampleFrames', clip_len=4, num_clips=1),
                dict(type='DecordDecode'),
                dict(type='FormatShape', input_format='NCTHW'),
                dict(type='PackActionInputs'),
            ],
        )
    )
    samples = Samples(dataset, SampleCheck(classes=len(MOTIONS), channels=3))
    names = [dataset.get_data_info(index)['filename'] for index in range(8)]
    broken = names.index(str(video))
    with pytest.raises(BrokenSampleError, match=video.name):
        samples[broken]
    assert samples[(broken + 1) % 8]['inputs'].shape[-2:] == (64, 64)


def test_when_everything_is_broken_skipping_ends(pictures):
    for file in pictures.glob('*.jpg'):
        file.write_bytes(b'')
    samples = Samples(classification(pictures), CHECK, broken='skip')
    with pytest.raises(BrokenSampleError, match=r'20 samples in a row are broken, the last: .*jpg'):
        samples[0]


def test_a_samples_random_numbers_depend_on_its_place_alone(pictures):
    class Random:
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return index, torch.rand(1).item(), np.random.rand()

    samples = Samples(Random(), lambda sample: None, seed=(3, 0))
    first, again, other = samples[7, 1, 2], samples[7, 1, 2], samples[7, 0, 2]
    assert first == again
    assert first != other
    assert Samples(Random(), lambda sample: None, seed=(3, 1))[7, 1, 2] != first  # of another rank


def test_seeding_for_a_sample_formats_no_stack():
    """torch.manual_seed does for devices that are not in use: milliseconds on a slow disk."""

    def files_that_run(seed):
        found = set()
        sys.setprofile(lambda frame, *_: found.add(Path(frame.f_code.co_filename).name))
        try:
            seed()
        finally:
            sys.setprofile(None)
        return found

    assert 'traceback.py' in files_that_run(lambda: torch.manual_seed(3))
    assert 'traceback.py' not in files_that_run(lambda: seed_everything(3, 0, 1))
