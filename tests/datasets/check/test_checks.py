"""Each fault, planted in small data of the three layouts, is found with its file."""

import faulthandler
import os
from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from planted import annotation, cut, picture, video

from ssn_mm.datasets.check.checks import check
from ssn_mm.datasets.check.preflight import DatasetMissingError

CLASSES = ['sky', 'tree', 'wall']
LOAD = dict(type='LoadImageFromFile')
IMAGES = [LOAD, dict(type='RandomResizedCrop', scale=32), dict(type='PackInputs')]
SCENES = [
    LOAD,
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=(16, 16)),
    dict(type='PackSegInputs'),
]
FRAMES = [dict(type='FormatShape', input_format='NCTHW'), dict(type='PackActionInputs')]
SAMPLE = dict(type='SampleFrames', clip_len=4, num_clips=1)
CLIPS = [dict(type='DecordInit'), SAMPLE, dict(type='DecordDecode'), *FRAMES]


def loaders(scope, model=None, **datasets):
    cfg = {f'{split}_dataloader': dict(dataset=data) for split, data in datasets.items()}
    return Config(dict(default_scope=scope, model=model or {}, **cfg))


@pytest.fixture
def images(tmp_path):
    """Twelve images in ImageNet's layout, four a class."""
    for label, name in enumerate(CLASSES):
        for i in range(4):
            picture(tmp_path / f'train/{name}/{i}.JPEG', seed=10 * label + i)
    data = dict(type='ImageNet', data_root=str(tmp_path), split='train', pipeline=IMAGES)
    data |= dict(metainfo={'classes': CLASSES})
    return tmp_path / 'train', loaders('mmpretrain', train=data)


@pytest.fixture
def scenes(tmp_path):
    """Four scenes in ADE20K's layout, of three classes and unlabelled stripes."""
    for i in range(4):
        picture(tmp_path / f'images/{i}.jpg', seed=i)
        annotation(tmp_path / f'annotations/{i}.png', [0, 1, 2, 3])
    data = dict(
        type='BaseSegDataset',
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='annotations'),
        metainfo={'classes': CLASSES},
        reduce_zero_label=True,
        pipeline=SCENES,
    )
    return tmp_path, loaders('mmseg', train=dict(type='RepeatDataset', times=3, dataset=data))


@pytest.fixture
def clips(tmp_path):
    """Four videos of two classes in Kinetics' layout."""
    for i in range(4):
        video(tmp_path / f'videos_train/{i}.mp4')
    (tmp_path / 'train.txt').write_text(''.join(f'{i}.mp4 {i % 2}\n' for i in range(4)))
    data = dict(
        type='VideoDataset',
        ann_file=str(tmp_path / 'train.txt'),
        data_prefix=dict(video=str(tmp_path / 'videos_train')),
        pipeline=CLIPS,
    )
    return tmp_path, loaders('mmaction', dict(cls_head=dict(num_classes=2)), train=data)


def train(cfg, **settings):
    (split,) = check(cfg, ['train'], workers=2, progress=False, **settings)
    return split


def faults(split):
    """Kind, file's name and text of each fault."""
    return {(f.kind, Path(f.file).name): f.what for f in split.faults}


def test_clean_images_have_no_fault_and_are_counted(images):
    split = train(images[1])
    assert split.faults == []
    assert (split.task, split.samples, split.classes) == ('classification', 12, CLASSES)
    assert split.counts == {0: 4, 1: 4, 2: 4}


def test_clean_scenes_have_no_fault_and_their_pixels_are_counted(scenes):
    split = train(scenes[1])
    assert split.faults == []
    assert (split.task, split.samples) == ('segmentation', 4)
    assert split.counts == {0: 1200, 1: 1200, 2: 1200, 255: 1200}


@pytest.mark.mmaction
def test_clean_videos_have_no_fault_and_are_counted(clips):
    split = train(clips[1])
    assert split.faults == []
    assert (split.task, split.samples) == ('video', 4)
    assert split.counts == {0: 2, 1: 2}


def test_broken_images_are_each_found(images):
    folder, cfg = images
    cut(folder / 'wall/0.JPEG')
    cut(folder / 'wall/1.JPEG', 0)
    (folder / 'tree/0.JPEG').write_text('not an image')
    found = {str(Path(f.file).relative_to(folder)): (f.kind, f.what) for f in train(cfg).faults}
    assert {file: kind for file, (kind, _) in found.items()} == {
        'wall/0.JPEG': 'unreadable',
        'wall/1.JPEG': 'zero bytes',
        'tree/0.JPEG': 'unreadable',
    }
    assert 'the file is cut short at' in found['wall/0.JPEG'][1]


def test_lists_are_checked_for_labels_duplicates_and_absent_classes(images):
    folder, cfg = images
    (folder.parent / 'train.txt').write_text(
        'wall/0.JPEG 0\nwall/0.JPEG 1\nwall/1.JPEG 3\nwall/2.JPEG 0\nwall/9.JPEG 0\n'
    )
    cfg.train_dataloader.dataset.ann_file = 'train.txt'
    split = train(cfg)
    found = faults(split)
    assert found == {
        ('duplicate', '0.JPEG'): 'is listed 2 times, with different labels',
        ('label out of range', '1.JPEG'): 'has label 3; classes are 0..2',
        ('missing file', '9.JPEG'): 'the file is missing',
        ('absent class', 'train.txt'): 'class 2 (wall) never occurs',
    }
    assert split.counts == {0: 3, 1: 1, 3: 1}


def test_a_class_folder_that_is_gone_or_empty_is_a_fault(images):
    folder, cfg = images
    for image in (folder / 'sky').iterdir():
        image.unlink()
    assert faults(train(cfg)) == {('absent class', 'train'): 'class 0 (sky) never occurs'}
    (folder / 'sky').rmdir()
    (fault,) = train(cfg).faults
    assert (fault.kind, fault.file) == ('unreadable list', str(folder))
    assert "number of subfolders (2) doesn't match" in fault.what


def test_broken_scenes_are_each_found(scenes):
    root, cfg = scenes
    (root / 'annotations/0.png').unlink()
    annotation(root / 'annotations/1.png', [0, 1, 2, 3, 4, 200, 255, 3])
    annotation(root / 'annotations/2.png', [0, 1, 2, 3], size=(40, 20))
    cut(root / 'annotations/3.png')
    cut(root / 'images/3.jpg')
    found = faults(train(cfg))
    assert set(found) == {
        ('no annotation', '0.jpg'),
        ('label out of range', '1.png'),
        ('sizes differ', '2.png'),
        ('unreadable', '3.png'),
        ('unreadable', '3.jpg'),
    }
    assert found['label out of range', '1.png'] == (
        '150 pixels of value 4 (class 3), 150 pixels of value 200 (class 199); '
        'classes are 0..2, ignored is 255'
    )
    assert '40x20, its image' in found['sizes differ', '2.png']


def test_annotations_of_16_bits_or_colour_are_no_class_ids(scenes):
    root, cfg = scenes
    annotation(root / 'annotations/0.png', [0, 1, 2, 300], dtype=np.uint16)
    picture(root / 'annotations/1.png')
    found = faults(train(cfg))
    assert '0..300' in found['label out of range', '0.png']
    assert '(30, 40, 3)' in found['label out of range', '1.png']


def test_a_class_without_pixels_is_told_unless_only_some_are_decoded(scenes):
    root, cfg = scenes
    for i in range(4):
        annotation(root / f'annotations/{i}.png', [0, 1, 1, 3])
    assert faults(train(cfg)) == {('absent class', 'images'): 'class 1 (tree) never occurs'}
    split = train(cfg, limit=2)
    assert (split.faults, split.decoded, split.samples) == ([], 2, 4)


def test_an_image_that_exif_turns_has_the_size_in_which_it_is_loaded(scenes):
    from PIL import Image

    root, cfg = scenes
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(root / 'images/0.jpg') as image:
        image.save(root / 'images/0.jpg', exif=exif)
    assert set(faults(train(cfg))) == {('sizes differ', '0.png')}
    annotation(root / 'annotations/0.png', [0, 1, 2], size=(30, 40))
    assert train(cfg).faults == []


@pytest.mark.mmaction
def test_broken_videos_and_lists_are_each_found(clips):
    root, cfg = clips
    cut(root / 'videos_train/0.mp4')
    cut(root / 'videos_train/1.mp4', 0)
    with (root / 'train.txt').open('a') as lines:
        lines.write('3.mp4 1\n9.mp4 1\n2.mp4 2\n2.mp4\n')
    found = faults(train(cfg))
    assert set(found) == {
        ('unreadable', '0.mp4'),
        ('zero bytes', '1.mp4'),
        ('missing file', '9.mp4'),
        ('duplicate', '2.mp4'),
        ('duplicate', '3.mp4'),
        ('label out of range', '2.mp4'),
    }
    assert found['duplicate', '3.mp4'] == 'is listed 2 times'


@pytest.mark.mmaction
def test_a_list_that_its_library_cannot_read_is_a_fault_with_its_lines(clips):
    root, cfg = clips
    (root / 'train.txt').write_text('0.mp4 0\nriding a bike/1.mp4 1\n2.mp4 one\n')
    split = train(cfg)
    assert {f.kind for f in split.faults} == {'unreadable list'}
    assert {f.file for f in split.faults} == {str(root / 'train.txt')}
    told = ' '.join(f.what for f in split.faults)
    assert "line 2 is 'riding a bike/1.mp4 1'" in told
    assert "line 3 is '2.mp4 one'" in told


@TRANSFORMS.register_module()
class AbortAt(BaseTransform):
    """A step that kills its process, as a decoder may."""

    def transform(self, results):
        if results['img_path'].endswith('tree/2.JPEG'):
            faulthandler.disable()  # pytest's: it would print the crash
            os.abort()
        return results


def test_a_file_that_kills_its_decoder_is_a_fault_and_the_rest_is_checked(images):
    images[1].train_dataloader.dataset.pipeline.insert(1, dict(type='AbortAt'))
    (fault,) = train(images[1]).faults
    assert fault.file.endswith('tree/2.JPEG')
    assert 'SIGABRT' in fault.what


def test_a_split_with_the_data_of_another_is_not_checked_twice(images):
    _, cfg = images
    cfg.val_dataloader = cfg.train_dataloader
    cfg.test_dataloader = dict(dataset=dict(cfg.train_dataloader.dataset, pipeline=[LOAD]))
    found = check(cfg, workers=2, progress=False)
    assert [(split.name, split.same_as) for split in found] == [
        ('train', ''), ('val', 'train'), ('test', 'train')
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(splits=['val']), 'no val_dataloader; it has train'),
        (dict(limit=0), 'limit must be at least 1, got 0'),
        (dict(workers=-1), 'workers must be at least 1, got -1'),
    ],
)
def test_wrong_arguments_are_told(images, settings, message):
    with pytest.raises(ValueError, match=message):
        check(images[1], progress=False, **settings)


def test_a_config_that_cannot_be_built_and_a_missing_dataset_are_the_users_errors(images):
    cfg = images[1]
    cfg.train_dataloader.dataset.split = 'val'
    with pytest.raises(DatasetMissingError, match='ImageNet'):
        train(cfg)
    cfg.train_dataloader.dataset.type = 'NoSuchDataset'
    with pytest.raises(ValueError, match='NoSuchDataset is not in the mmpretrain'):
        train(cfg)
