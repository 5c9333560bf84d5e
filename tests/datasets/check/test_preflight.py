import json

import pytest
from mmengine.config import Config

from ssn_mm.datasets.check.preflight import DatasetMissingError, check_datasets


def config(root):
    def loader(split):
        prefix = dict(img_path=f'images/{split}', seg_map_path=f'annotations/{split}')
        data = dict(type='ADE20KDataset', data_root=str(root), data_prefix=prefix)
        return dict(dataset=dict(type='RepeatDataset', times=2, dataset=data))

    return Config(dict(train_dataloader=loader('training'), val_dataloader=loader('validation')))


def fill(root, *splits):
    for split in splits:
        for kind, suffix in (('images', 'jpg'), ('annotations', 'png')):
            (root / kind / split).mkdir(parents=True)
            (root / kind / split / f'1.{suffix}').touch()


def test_a_missing_dataset_is_described(tmp_path):
    root = tmp_path / 'ADEChallengeData2016'
    with pytest.raises(DatasetMissingError) as error:
        check_datasets(config(root))
    for part in (
        str(root / 'images/training'),  # what is missing
        'annotations/validation/ADE_val_00000001.png',  # the layout
        'ADEChallengeData2016.zip',  # the source
        'demo/deeplab_ssn_digits.py',  # what works without
    ):
        assert part in str(error.value)


def test_an_empty_or_half_there_dataset_is_missing_too(tmp_path):
    fill(tmp_path, 'training')
    (tmp_path / 'images/validation').mkdir()
    with pytest.raises(DatasetMissingError) as error:
        check_datasets(config(tmp_path))
    missing = str(error.value).splitlines()[1]
    assert 'images/validation' in missing
    assert 'training' not in missing
    check_datasets(config(tmp_path), ('train',))


def test_a_dataset_that_is_there_passes(tmp_path):
    fill(tmp_path, 'training', 'validation')
    check_datasets(config(tmp_path))


def test_other_datasets_are_left_to_their_library(tmp_path):
    cfg = config(tmp_path)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.dataset.type = 'MyDataset'
    check_datasets(cfg)


def imagenet(root, **settings):
    return dict(type='ImageNet', data_root=str(root), **settings)


def cityscapes(root, split):
    prefix = dict(img_path=f'leftImg8bit/{split}', seg_map_path=f'gtFine/{split}')
    return dict(type='CityscapesDataset', data_root=str(root), data_prefix=prefix)


def videos(root, folder='videos_train', ann_file='kinetics400_train_list_videos.txt'):
    prefix = dict(video=folder)
    return dict(
        type='mmaction.VideoDataset', data_root=str(root), data_prefix=prefix, ann_file=ann_file
    )


def loaders(**datasets):
    return Config({f'{split}_dataloader': dict(dataset=data) for split, data in datasets.items()})


def put(path, text='x'):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def message(cfg):
    with pytest.raises(DatasetMissingError) as error:
        check_datasets(cfg)
    return str(error.value)


@pytest.mark.parametrize(
    ('dataset', 'parts'),
    [
        (
            imagenet('data/imagenet', split='train'),
            [
                'Missing or empty: data/imagenet/train\n',
                'data/imagenet/\n    train/n01440764/n01440764_10026.JPEG',
                'https://www.image-net.org',
                'ln -s WHERE_IT_IS data/imagenet',
                'demo/resnet_ssn_digits.py',
            ],
        ),
        (
            cityscapes('data/cityscapes', 'val'),
            [
                'Missing or empty: data/cityscapes/gtFine/val, data/cityscapes/leftImg8bit/val\n',
                'frankfurt_000000_000294_gtFine_labelTrainIds.png',
                'https://www.cityscapes-dataset.com',
                ' -m pip install cityscapesscripts && ',
                ' -m ssn_mm mmseg::dataset_converters/cityscapes.py data/cityscapes --nproc 8',
                'demo/deeplab_ssn_digits.py',
            ],
        ),
        (
            videos('data/kinetics400'),
            [
                'data/kinetics400/kinetics400_train_list_videos.txt, '
                'data/kinetics400/videos_train\n',
                'Kinetics-400',
                'https://github.com/cvdfoundation/kinetics-dataset',
                'a line `FILE LABEL` a video',
                'demo/i3d_ssn_digits.py',
            ],
        ),
    ],
)
def test_each_dataset_says_what_is_missing_its_layout_its_source_and_the_demo(
    tmp_path, monkeypatch, dataset, parts
):
    monkeypatch.chdir(tmp_path)
    told = message(loaders(train=dataset))
    for part in parts:
        assert part in told


@pytest.mark.parametrize(
    'settings',
    [
        dict(split='train'),
        dict(data_prefix='train'),
        dict(data_prefix=dict(img_path='train')),
        dict(data_prefix='train', ann_file='meta/train.txt'),
    ],
)
def test_imagenets_folder_may_come_from_split_or_prefix_and_its_list_counts(tmp_path, settings):
    cfg = loaders(train=imagenet(tmp_path, **settings))
    (tmp_path / 'train/n01440764').mkdir(parents=True)  # a folder without images
    assert str(tmp_path / 'train') in message(cfg).splitlines()[1]
    put(tmp_path / 'train/n01440764/1.JPEG')
    if 'ann_file' in settings:
        put(tmp_path / 'meta/train.txt', '')
        assert message(cfg).splitlines()[1] == f'Missing or empty: {tmp_path / "meta/train.txt"}'
        put(tmp_path / 'meta/train.txt', 'n01440764/1.JPEG 0')
    check_datasets(cfg)


def test_cityscapes_without_train_ids_is_missing_them(tmp_path):
    cfg = loaders(train=cityscapes(tmp_path, 'train'))
    put(tmp_path / 'leftImg8bit/train/aachen/1_leftImg8bit.png')
    put(tmp_path / 'gtFine/train/aachen/1_gtFine_labelIds.png')
    assert message(cfg).splitlines()[1] == f'Missing or empty: {tmp_path / "gtFine/train"}'
    put(tmp_path / 'gtFine/train/aachen/1_gtFine_labelTrainIds.png')
    check_datasets(cfg)


def test_a_config_with_other_suffixes_is_checked_for_those(tmp_path):
    data = cityscapes(tmp_path, 'train') | dict(img_suffix='.jpg', seg_map_suffix='.png')
    put(tmp_path / 'leftImg8bit/train/1.jpg')
    put(tmp_path / 'gtFine/train/1.png')
    check_datasets(loaders(train=data))


def test_videos_of_ones_own_are_checked_and_not_called_kinetics(tmp_path):
    cfg = loaders(train=videos(tmp_path, 'clips', 'train.txt'))
    put(tmp_path / 'clips/a/1.mp4')
    told = message(cfg)
    assert told.splitlines()[1] == f'Missing or empty: {tmp_path / "train.txt"}'
    assert 'Kinetics' not in told
    put(tmp_path / 'train.txt', 'a/1.mp4 0')
    check_datasets(cfg)


def test_videos_without_data_root_are_found_as_mmactions_own_configs_write_them(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    data = videos('', 'data/kinetics400/videos_train', 'data/kinetics400/train.txt')
    told = message(loaders(train=data))
    assert 'Missing or empty: data/kinetics400/train.txt, data/kinetics400/videos_train' in told
    assert f'ln -s WHERE_IT_IS {tmp_path / "data/kinetics400"}' in told


def test_data_in_an_object_store_is_left_to_its_library():
    check_datasets(loaders(train=videos('s3://bucket/kinetics400')))


def test_all_that_is_missing_is_told_at_once(tmp_path):
    cfg = loaders(train=imagenet(tmp_path, split='train'), val=cityscapes(tmp_path, 'val'))
    told = message(cfg)
    assert 'ImageNet (ILSVRC 2012' in told
    assert 'Cityscapes (2975' in told


@pytest.mark.parametrize('name', ['../../etc/passwd', '/etc/passwd', 'a/../../b.mp4'])
def test_a_list_cannot_lead_out_of_the_data(tmp_path, name):
    (tmp_path / 'videos').mkdir()
    (tmp_path / 'videos/1.mp4').touch()
    (tmp_path / 'list.txt').write_text(f'a/1.mp4 0\n{name} 1\n')
    dataset = dict(
        type='VideoDataset', ann_file=str(tmp_path / 'list.txt'),
        data_prefix=dict(video=str(tmp_path / 'videos')),
    )  # fmt: skip
    cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
    with pytest.raises(ValueError, match=rf'list\.txt, line 2: {name!r} lies outside of .*/videos'):
        check_datasets(cfg)
    (tmp_path / 'list.txt').write_text(f'a/1.mp4 0\n{tmp_path}/videos/b/../2.mp4 1\n\n')
    check_datasets(cfg)


def test_a_list_in_json_cannot_either(tmp_path):
    infos = [dict(img_path='1.jpg'), dict(img_path='2.jpg', seg_map_path='../../2.png')]
    (tmp_path / 'list.json').write_text(json.dumps(dict(metainfo={}, data_list=infos)))
    dataset = dict(type='BaseSegDataset', data_root=str(tmp_path), ann_file='list.json')
    dataset['data_prefix'] = dict(img_path='images')
    with pytest.raises(ValueError, match=r"list\.json, sample 1: '\.\./\.\./2\.png' lies outside"):
        check_datasets(Config(dict(train_dataloader=dict(dataset=dataset))))


def listed(tmp_path, *names, **settings):
    """A config whose list names videos."""
    (tmp_path / 'data/videos').mkdir(parents=True, exist_ok=True)
    (tmp_path / 'data/videos/1.mp4').write_text('x')
    (tmp_path / 'data/list.txt').write_text(''.join(f'{name} 0\n' for name in names))
    data = dict(
        type='VideoDataset', data_root=str(tmp_path / 'data'), ann_file='list.txt',
        data_prefix=dict(video='videos'),
    )  # fmt: skip
    return loaders(train=data | settings)


def test_paths_that_stay_inside_or_name_data_of_ones_own_are_taken(tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    check_datasets(listed(tmp_path, 'a/../1.mp4', '../other/1.mp4'))  # inside of data_root
    check_datasets(listed(tmp_path, '/mnt/videos/1.mp4', str(tmp_path / 'elsewhere')))
    (tmp_path / 'link').symlink_to(tmp_path / 'data')
    check_datasets(listed(tmp_path, str(tmp_path / 'data/videos/1'), data_root=f'{tmp_path}/link'))
    check_datasets(listed(tmp_path, str(tmp_path / 'link/videos/1')))
    for name in ('/etc/passwd', '../../elsewhere/1.mp4'):
        with pytest.raises(ValueError, match='lies outside of'):
            check_datasets(listed(tmp_path, name))


def test_annotations_are_missed_only_where_a_step_reads_them(tmp_path):
    cfg = config(tmp_path)
    put(tmp_path / 'images/validation/1.jpg')
    data = cfg.val_dataloader.dataset.dataset
    data.pipeline = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
    check_datasets(cfg, ('val',))
    data.pipeline.insert(1, dict(type='mmseg.LoadAnnotations'))
    with pytest.raises(DatasetMissingError, match='annotations/validation'):
        check_datasets(cfg, ('val',))


PETREL = dict(backend='petrel', path_mapping={'data/': 's3://data/'})


@pytest.mark.parametrize(
    'settings',
    [
        dict(backend_args=PETREL),
        dict(pipeline=[dict(type='LoadImageFromFile', backend_args=PETREL)]),
        dict(pipeline=[dict(type='LoadImageFromFile', file_client_args=PETREL)]),
        dict(pipeline=[dict(type='DecordInit', io_backend='lmdb', db_path='data.lmdb')]),
    ],
)
def test_data_that_another_client_reads_is_not_looked_for_on_the_disk(settings):
    check_datasets(loaders(train=imagenet('data/nowhere', split='train', **settings)))


def test_a_home_directory_is_found_as_mmpretrain_finds_it(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    put(tmp_path / 'imagenet/train/n01440764/1.JPEG')
    check_datasets(loaders(train=imagenet('~/imagenet', split='train')))


def test_a_training_needs_no_test_data(tmp_path):
    put(tmp_path / 'train/n01440764/1.JPEG')
    cfg = loaders(train=imagenet(tmp_path, split='train'), test=imagenet(tmp_path, split='test'))
    check_datasets(cfg)
    with pytest.raises(DatasetMissingError, match='ImageNet'):
        check_datasets(cfg, ('test',))


def test_a_list_that_is_no_json_is_left_to_its_library(tmp_path):
    put(tmp_path / 'images/1.jpg')
    put(tmp_path / 'list.json', '{')
    data = dict(type='BaseSegDataset', data_root=str(tmp_path), ann_file='list.json')
    check_datasets(loaders(train=data | dict(data_prefix=dict(img_path='images'))))
