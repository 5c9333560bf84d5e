"""Datasets of every layout are read by their own pipelines, and splits are compared."""

import json
import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from planted import annotation, cut, picture, video

from ssn_mm.datasets.check.checks import check

LOAD, PACK = dict(type='LoadImageFromFile'), dict(type='PackInputs')
SCENES = [LOAD, dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
FRAMES = [
    dict(type='SampleFrames', clip_len=2, num_clips=1),
    dict(type='RawFrameDecode'),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
CLIPS = [dict(type='DecordInit'), FRAMES[0], dict(type='DecordDecode'), *FRAMES[2:]]


def config(scope, model=None, **datasets):
    cfg = {f'{split}_dataloader': dict(dataset=data) for split, data in datasets.items()}
    return Config(dict(default_scope=scope, model=model or {}, **cfg))


def checked(cfg):
    return {split.name: split for split in check(cfg, workers=2, progress=False)}


def faults(split):
    """Kind and file's name of each fault."""
    return [(fault.kind, Path(fault.file).name) for fault in split.faults]


def folder(root, steps=(LOAD, PACK), **settings):
    """mmpretrain's dataset of a folder of folders."""
    return dict(type='CustomDataset', data_root=str(root), pipeline=list(steps), **settings)


def scenes(
    root, steps=(LOAD, dict(type='LoadAnnotations'), dict(type='PackSegInputs')), **settings
):
    data = dict(
        type='BaseSegDataset', data_root=str(root), pipeline=list(steps),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        metainfo=dict(classes=('a', 'b')),
    )  # fmt: skip
    return data | settings


@pytest.fixture
def animals(tmp_path):
    """A folder of pictures for each class and split."""
    for split in ('train', 'val'):
        for label, name in enumerate(('ant', 'bee', 'cat')):
            picture(tmp_path / f'{split}/{name}/0.jpg', seed=10 * label + (split == 'val'))
    return tmp_path


def test_a_validation_set_that_lacks_a_class_folder_has_other_labels(animals):
    cfg = config('mmpretrain', train=folder(animals / 'train'), val=folder(animals / 'val'))
    assert checked(cfg)['val'].faults == []
    (animals / 'val/ant/0.jpg').unlink()
    (animals / 'val/ant').rmdir()
    (fault,) = checked(cfg)['val'].faults
    assert (fault.kind, fault.file) == ('other classes', str(animals / 'val'))
    assert fault.what == (
        '2 classes here and 3 in train; lacks ant; label 0 is bee here and ant there'
    )


def test_classes_in_another_order_and_another_meaning_of_zero_are_faults(tmp_path):
    picture(tmp_path / 'images/0.jpg')
    annotation(tmp_path / 'labels/0.png', [1, 2])
    ours = scenes(tmp_path, reduce_zero_label=True)
    swapped = ours | dict(metainfo=dict(classes=('b', 'a')))
    shifted = ours | dict(reduce_zero_label=False, metainfo=dict(classes=('a', 'b')))
    found = checked(config('mmseg', train=ours, val=swapped, test=shifted))
    assert found['train'].faults == []
    assert found['val'].faults[0].what == 'label 0 is b here and a there'
    told = [fault.what for fault in found['test'].faults]
    assert 'reduce_zero_label is False here and True in train' in told
    painted = ours | dict(metainfo=dict(classes=('a', 'b'), palette=[[1, 1, 1], [2, 2, 2]]))
    found = checked(config('mmseg', train=ours, val=painted))['val']
    assert [note.kind for note in found.notes] == ['other colours', 'in two splits']


def test_names_of_another_kind_are_a_note(animals):
    ours = folder(animals / 'train')
    (animals / 'val.txt').write_text('val/ant/0.jpg 0')
    theirs = folder(animals, ann_file='val.txt', metainfo=dict(classes=list('xyz')))
    val = checked(config('mmpretrain', train=ours, val=theirs))['val']
    assert [note.kind for note in val.notes] == ['other classes']
    assert {fault.kind for fault in val.faults} == {'absent class'}


def test_a_file_of_two_splits_is_a_note_and_no_fault(animals):
    (animals / 'train.txt').write_text('train/ant/0.jpg 0\ntrain/bee/0.jpg 1\n')
    (animals / 'val.txt').write_text('val/ant/0.jpg 0\ntrain/bee/0.jpg 1\n')
    ours = [folder(animals, ann_file=f'{split}.txt') for split in ('train', 'val')]
    val = checked(config('mmpretrain', train=ours[0], val=ours[1]))['val']
    assert val.faults == []
    (note,) = val.notes
    assert (note.kind, note.file) == ('in two splits', str(animals / 'train/bee/0.jpg'))


def test_pictures_and_annotations_that_nothing_reads_are_noted(tmp_path):
    for name in ('0.jpg', '1.JPG', '2.jpeg'):
        picture(tmp_path / f'images/{name}')
    annotation(tmp_path / 'labels/0.png', [0, 1])
    annotation(tmp_path / 'labels/2.png', [0, 1])
    split = checked(config('mmseg', train=scenes(tmp_path)))['train']
    assert (split.samples, split.faults) == (1, [])
    assert [(note.kind, Path(note.file).name) for note in split.notes] == [
        ('not read', '1.JPG'), ('not read', '2.png')
    ]  # fmt: skip
    (tmp_path / 'images/0.jpg').unlink()
    split = checked(config('mmseg', train=scenes(tmp_path)))['train']
    assert [fault.what for fault in split.faults] == ['holds no samples']
    assert len(split.notes) == 1


def frames(root, names=('a', 'b'), number=3):
    for name in names:
        for index in range(1, number + 1):
            picture(root / f'{name}/img_{index:05}.jpg', seed=index)
    lines = [f'{name} {number} {label}' for label, name in enumerate(names)]
    (root / 'list.txt').write_text('\n'.join(lines))
    return dict(
        type='RawframeDataset', ann_file=str(root / 'list.txt'), pipeline=FRAMES,
        data_prefix=dict(img=str(root)),
    )  # fmt: skip


@pytest.mark.mmaction
def test_folders_of_frames_are_read_in_full(tmp_path):
    cfg = config('mmaction', dict(cls_head=dict(num_classes=2)), train=frames(tmp_path))
    split = checked(cfg)['train']
    assert (split.faults, split.task, split.samples) == ([], 'video', 2)
    assert split.counts == {0: 1, 1: 1}
    assert split.notes == []
    picture(tmp_path / 'b/img_00004.jpg')
    (note,) = checked(cfg)['train'].notes
    assert (note.kind, note.file) == ('not read', str(tmp_path / 'b/img_00004.jpg'))
    cut(tmp_path / 'a/img_00002.jpg')
    (tmp_path / 'b/img_00003.jpg').unlink()
    assert faults(checked(cfg)['train']) == [
        ('missing file', 'img_00003.jpg'), ('unreadable', 'img_00002.jpg')
    ]  # fmt: skip
    picture(tmp_path / 'a/img_00002.jpg', size=(20, 20))
    assert ('sizes differ', 'a') in faults(checked(cfg)['train'])


@pytest.mark.mmaction
def test_frames_of_flow_and_clips_of_a_folder_are_read_where_they_are(tmp_path):
    data = frames(tmp_path)
    for axis in 'xy':
        for index in range(5, 8):
            picture(tmp_path / f'a/flow_{axis}_{index:05}.jpg')
    (tmp_path / 'list.txt').write_text('a 4 3 0\n')  # frames 5 to 7
    data |= dict(modality='Flow', filename_tmpl='flow_{}_{:05}.jpg', with_offset=True)
    assert checked(config('mmaction', train=data))['train'].faults == []
    (tmp_path / 'a/flow_y_00006.jpg').unlink()
    assert faults(checked(config('mmaction', train=data))['train']) == [
        ('missing file', 'flow_y_00006.jpg')
    ]


@pytest.fixture
def clip(tmp_path):
    """A video in a config."""
    video(tmp_path / 'a.mp4', frames=36)
    (tmp_path / 'list.txt').write_text('a.mp4 0\n')
    data = dict(
        type='VideoDataset', ann_file=str(tmp_path / 'list.txt'), pipeline=CLIPS,
        data_prefix=dict(video=str(tmp_path)),
    )  # fmt: skip
    return tmp_path / 'a.mp4', config('mmaction', train=data)


@pytest.mark.mmaction
def test_a_video_of_which_some_frames_cannot_be_decoded_is_found_each_time(clip):
    file, cfg = clip
    assert checked(cfg)['train'].faults == []
    data = bytearray(file.read_bytes())
    start = int(0.48 * len(data))  # neither at the beginning, nor in the middle, nor at the end
    data[start : start + 4000] = bytes(4000)
    file.write_bytes(data)
    for _ in range(5):
        assert faults(checked(cfg)['train']) == [('unreadable', 'a.mp4')]


@pytest.mark.mmaction
def test_a_video_of_one_frame_is_noted(clip):
    file, cfg = clip
    file.unlink()
    video(file, frames=1, size=(640, 480))
    split = checked(cfg)['train']
    assert split.faults == []
    assert [(note.kind, Path(note.file).name) for note in split.notes] == [('one frame', 'a.mp4')]


def test_wrappers_lists_and_lazy_configs_are_all_read(animals):
    from mmcv.transforms import LoadImageFromFile
    from mmpretrain.datasets import CustomDataset, PackInputs

    lazy = folder(animals / 'val', [dict(type=LoadImageFromFile), dict(type=PackInputs)])
    lazy['type'] = CustomDataset
    balanced = dict(type='ClassBalancedDataset', oversample_thr=0.1, dataset=lazy)
    fold = dict(type='KFoldDataset', fold=0, num_splits=2, dataset=folder(animals / 'train'))
    joined = dict(type='ConcatDataset', datasets=[balanced, fold])
    cfg = config('mmpretrain', train=dict(type='RepeatDataset', times=3, dataset=joined))
    assert checked(cfg)['train'].counts == {0: 2, 1: 2, 2: 2}
    cut(animals / 'val/bee/0.jpg')
    assert faults(checked(cfg)['train']) == [('unreadable', '0.jpg')]
    cfg.train_dataloader = [ConfigDict(dataset=lazy), ConfigDict(dataset=folder(animals / 'train'))]
    assert faults(checked(cfg)['train']) == [('unreadable', '0.jpg')]
    cfg.train_dataloader = ConfigDict(dataset=folder(animals / 'train'))
    cfg.train_cfg = dict(other_loaders=[dict(dataset=lazy)])
    assert faults(checked(cfg)['train']) == [('unreadable', '0.jpg')]
    cfg.train_dataloader = ConfigDict(batch_size=2)
    cfg.train_cfg = {}
    with pytest.raises(ValueError, match='train_dataloader of the config has no dataset'):
        checked(cfg)


def test_several_labels_of_a_picture_are_each_counted(animals):
    infos = [dict(img_path='train/ant/0.jpg', gt_label=[0, 2], note='x')]
    infos += [dict(img_path='train/bee/0.jpg', gt_label=[2, 3])]
    meta = dict(classes=['ant', 'bee', 'cat'])
    (animals / 'list.json').write_text(json.dumps(dict(metainfo=meta, data_list=infos)))
    data = dict(
        type='MultiLabelDataset', data_root=str(animals), ann_file='list.json',
        pipeline=[LOAD, PACK],
    )  # fmt: skip
    split = checked(config('mmpretrain', train=data))['train']
    assert split.counts == {0: 1, 2: 2, 3: 1}
    told = [fault.what for fault in split.faults if fault.kind == 'label out of range']
    assert told == ['has label 3; classes are 0..2']


def test_what_the_network_takes_decides_and_not_the_kind_of_file(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65536, (30, 40), np.uint16)
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / f'{name}/0.png'), deep)
    steps = [LOAD | dict(color_type='unchanged', to_float32=True), PACK]
    mean = dict(data_preprocessor=dict(mean=[32768.0]))
    assert checked(config('mmpretrain', mean, train=folder(tmp_path, steps)))['train'].faults == []
    cv2.imwrite(str(tmp_path / 'b/0.png'), np.zeros((30, 40, 4), np.uint8))
    colours = dict(data_preprocessor=dict(mean=[0.0, 0.0, 0.0]))
    split = checked(config('mmpretrain', colours, train=folder(tmp_path, steps)))['train']
    assert faults(split) == [('other channels', '0.png')]


def turn(path, orientation):
    """Has EXIF say how a picture is to be shown."""
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as image:
        image.save(path, exif=exif)


@pytest.mark.parametrize('decoder', ['cv2', 'pillow'])
def test_a_turned_picture_is_read_as_the_config_says(tmp_path, decoder):
    picture(tmp_path / 'images/0.jpg')
    turn(tmp_path / 'images/0.jpg', 6)
    annotation(tmp_path / 'labels/0.png', [0, 1])
    load = LOAD | dict(imdecode_backend=decoder)
    steps = [load, *SCENES[1:]]
    as_stored = [load | dict(color_type='color_ignore_orientation'), *SCENES[1:]]
    (fault,) = checked(config('mmseg', train=scenes(tmp_path, steps)))['train'].faults
    assert (fault.kind, Path(fault.file).name) == ('sizes differ', '0.png')
    assert fault.what.endswith(
        'is 30x40, turned by its EXIF orientation 6: turn the annotation, too, or load pictures '
        "with color_type='color_ignore_orientation'"
    )
    split = checked(config('mmseg', train=scenes(tmp_path, as_stored)))['train']
    assert (split.faults, split.notes) == ([], [])


@pytest.mark.parametrize('orientation', [1, 2, 3])
def test_a_picture_that_is_turned_upside_down_beside_its_annotation_is_noted(tmp_path, orientation):
    picture(tmp_path / 'images/0.jpg')
    turn(tmp_path / 'images/0.jpg', orientation)
    annotation(tmp_path / 'labels/0.png', [0, 1])
    split = checked(config('mmseg', train=scenes(tmp_path)))['train']
    assert split.faults == []  # it may have been drawn on the turned one
    noted = [note.what for note in split.notes if note.kind == 'turned picture']
    assert [f'its EXIF orientation {orientation}: look' in what for what in noted] == (
        [True] if orientation > 1 else []
    )
    for color_type in ('unchanged', 'color_ignore_orientation'):
        steps = [LOAD | dict(color_type=color_type), *SCENES[1:]]
        assert checked(config('mmseg', train=scenes(tmp_path, steps)))['train'].notes == []


def test_annotations_that_lost_values_are_noted_and_labels_beyond_the_classes_are_faults(tmp_path):
    picture(tmp_path / 'images/0.jpg')
    annotation(tmp_path / 'labels/0.png', [0, 1])
    data = scenes(tmp_path, seg_map_suffix='.jpg')
    stored = cv2.imread(str(tmp_path / 'labels/0.png'), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(tmp_path / 'labels/0.jpg'), stored)
    split = checked(config('mmseg', train=data))['train']
    assert split.faults == []
    assert 'lossy labels' in [note.kind for note in split.notes]
    cv2.imwrite(str(tmp_path / 'labels/0.jpg'), stored * 100)
    fault = checked(config('mmseg', train=data))['train'].faults[-1]  # and an absent class
    assert fault.kind == 'label out of range'
    assert fault.what.endswith('which changes labels: store annotations as PNG')


def test_an_annotation_is_read_by_the_configs_own_decoder(tmp_path):
    from PIL import Image

    picture(tmp_path / 'images/0.jpg')
    (tmp_path / 'labels').mkdir()
    coloured = Image.fromarray(np.tile(np.array([0, 1] * 20, np.uint8), (30, 1)), mode='P')
    coloured.putpalette([0, 0, 0, 200, 0, 0])
    coloured.save(tmp_path / 'labels/0.png')
    split = checked(config('mmseg', train=scenes(tmp_path)))['train']
    assert (split.faults, split.counts) == ([], {0: 600, 1: 600})
    steps = [LOAD, dict(type='LoadAnnotations', imdecode_backend='cv2'), dict(type='PackSegInputs')]
    (fault,) = [
        fault
        for fault in checked(config('mmseg', train=scenes(tmp_path, steps)))['train'].faults
        if fault.kind == 'label out of range'
    ]
    assert 'has shape (30, 40, 3)' in fault.what


def test_a_picture_in_memory_has_a_name_too(tmp_path):
    from mmpretrain.datasets import cifar

    base = tmp_path / cifar.CIFAR10.base_folder
    base.mkdir()
    data = np.random.default_rng(0).integers(0, 256, (4, 3072), np.uint8)
    for name, _ in (*cifar.CIFAR10.train_list, *cifar.CIFAR10.test_list):
        (base / name).write_bytes(pickle.dumps(dict(data=data, labels=[0, 1, 2, 10])))
    (base / cifar.CIFAR10.meta['filename']).write_bytes(pickle.dumps(dict(label_names=list('abc'))))
    node = dict(type='CIFAR10', data_root=str(tmp_path), split='test', pipeline=[PACK])
    checks = cifar.CIFAR10._check_integrity
    cifar.CIFAR10._check_integrity = lambda self: True
    try:
        split = checked(config('mmpretrain', test=node))['test']
    finally:
        cifar.CIFAR10._check_integrity = checks
    told = [(f.file, f.what) for f in split.faults if f.kind == 'label out of range']
    assert told == [(f'sample 3 of {tmp_path}/test', 'has label 10; classes are 0..9')]


@pytest.mark.mmaction
@pytest.mark.parametrize(
    ('kind', 'name', 'content'),
    [
        ('skeletons', 'PoseDataset', pickle.dumps([dict(frame_dir='a', keypoint=[0], label=0)])),
        ('sound', 'AudioDataset', b'a.npy 3 0'),
        ('actions in space and time', 'AVADataset', b'a,0902,0.1,0.1,0.2,0.2,5,0'),
        ('images or videos with text', 'VideoTextDataset', b'{"a.mp4": ["a dog"]}'),
    ],
)
def test_datasets_of_other_kinds_are_refused_by_name(tmp_path, kind, name, content):
    (tmp_path / 'list.pkl').write_bytes(content)
    data = dict(type=name, ann_file=str(tmp_path / 'list.pkl'), pipeline=[])
    if name == 'VideoTextDataset':
        data['data_prefix'] = dict(video='')
    with pytest.raises(ValueError, match=f"'{name}' is a dataset of {kind}"):
        checked(config('mmaction', train=data))


def test_depth_maps_are_refused_by_name(tmp_path):
    picture(tmp_path / 'images/bedroom_1.jpg')
    data = dict(type='NYUDataset', data_root=str(tmp_path), pipeline=[])
    with pytest.raises(ValueError, match="'NYUDataset' is a dataset of depth maps"):
        checked(config('mmseg', train=data))


def test_annotations_are_counted_whether_the_picture_can_be_read_or_not(tmp_path):
    picture(tmp_path / 'images/0.jpg')
    cut(tmp_path / 'images/0.jpg')
    annotation(tmp_path / 'labels/0.png', [0, 1])
    split = checked(config('mmseg', train=scenes(tmp_path)))['train']
    assert (faults(split), split.counts) == ([('unreadable', '0.jpg')], {0: 600, 1: 600})


def test_a_test_set_needs_no_annotations_and_a_step_that_is_not_there_reads_none(tmp_path):
    picture(tmp_path / 'images/0.jpg')
    data = scenes(tmp_path, [LOAD, dict(type='PackSegInputs')])
    assert checked(config('mmseg', test=data))['test'].faults == []
    os.mkdir(tmp_path / 'labels')
    (tmp_path / 'labels/0.png').write_text('nothing')
    assert checked(config('mmseg', test=data))['test'].faults == []
