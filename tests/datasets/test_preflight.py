import pytest
from mmengine.config import Config

from ssn_mm.datasets.preflight import DatasetMissingError, check_datasets


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
        'configs/demo/deeplab_ssn_digits.py',  # what works without
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
