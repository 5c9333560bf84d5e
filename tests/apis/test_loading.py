"""What a test says of a picture, infer says, too, however the config loads it."""

import json
from functools import partial
from importlib.metadata import packages_distributions
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
from PIL import Image
from segmentors import HEAD, OCR, photograph, save, segmentor, weights

from ssn_mm.apis import Predictor
from ssn_mm.cli.infer import infer
from ssn_mm.cli.test import evaluate
from ssn_mm.datasets.check.checks import check
from ssn_mm.datasets.pipelines import Preparation


@pytest.fixture
def data(tmp_path):
    for name in ('pictures', 'labels'):
        (tmp_path / name).mkdir()
    return tmp_path


def both(cfg, file, folder):
    """The label map of a picture by a test and by infer."""
    checkpoint = weights(cfg, folder)
    own = Predictor(cfg.copy(), checkpoint)
    assert infer(own, [str(file)], folder / 'inferred') == []
    evaluate(cfg, str(checkpoint), out=str(folder / 'tested'))
    paths = (folder / 'tested' / 'one.png', folder / 'inferred' / 'labels' / 'one.png')
    tested, inferred = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths)
    assert len(np.unique(tested)) > 1
    overlay = cv2.imread(str(folder / 'inferred' / 'overlays' / 'one.png'))
    assert overlay is not None
    return tested, inferred


@pytest.mark.parametrize('channels', [3, 1])
def test_sixteen_bits_unchanged_are_labelled_as_in_a_test(channels, data):
    deep = photograph().astype(np.uint16)[..., :channels] * 257 + 100
    file = save(data, deep)
    cfg = segmentor(data, load=dict(color_type='unchanged'), channels=channels)
    cfg.model.data_preprocessor.update(mean=[9000.0] * channels, std=[9000.0] * channels)
    tested, inferred = both(cfg, file, data)
    np.testing.assert_array_equal(inferred, tested)
    if channels == 3:  # 8 bits of it are something else
        cfg.test_dataloader.dataset.pipeline[0].color_type = 'color'
        other = Predictor(cfg, data / 'weights.pth').predict([str(file)])[0].label_map
        assert (other != tested).any()


@pytest.mark.parametrize('flag', ['color', 'color_ignore_orientation'])
def test_a_turned_photograph_is_turned_as_the_config_loads_it(flag, data):
    image = Image.fromarray(photograph())
    exif = image.getexif()
    exif[0x0112] = 6
    file = save(data, photograph(), '.jpg', exif=exif)
    if flag != 'color':
        cv2.imwrite(str(data / 'labels' / 'one.png'), np.zeros((54, 80), np.uint8))
    tested, inferred = both(segmentor(data, '.jpg', dict(color_type=flag)), file, data)
    assert tested.shape == ((80, 54) if flag == 'color' else (54, 80))
    np.testing.assert_array_equal(inferred, tested)


@pytest.mark.parametrize(
    ('load', 'channels', 'suffix'),
    [
        (dict(color_type='grayscale'), 1, '.jpg'),
        (dict(color_type='unchanged'), 4, '.png'),
        (dict(imdecode_backend='pillow'), 3, '.jpg'),
        (dict(to_float32=True), 3, '.png'),
        (dict(backend_args=dict(backend='local')), 3, '.png'),
    ],
)
def test_any_loading_step_gives_the_labels_of_a_test(load, channels, suffix, data):
    image = photograph()
    image = np.dstack([image, image[..., :1]]) if channels == 4 else image
    if channels == 4 and 'onedl-mmengine' in packages_distributions()['mmengine']:
        pytest.skip("the fork's preprocessor takes one channel or three")
    tested, inferred = both(
        segmentor(data, suffix, load, channels), save(data, image, suffix), data
    )
    np.testing.assert_array_equal(inferred, tested)


@pytest.mark.parametrize(
    ('load', 'package'),
    [
        (dict(imdecode_backend='tifffile'), 'tifffile'),
        (dict(imdecode_backend='turbojpeg'), 'PyTurboJPEG'),
        (dict(type='LoadSingleRSImageFromFile'), 'gdal'),
    ],
)
def test_a_missing_reader_of_pictures_is_told_once_with_what_to_install(load, package, data):
    if find_spec({'PyTurboJPEG': 'turbojpeg', 'gdal': 'osgeo'}.get(package, package)):
        pytest.skip(f'{package} is installed')
    save(data, photograph())
    cfg = segmentor(data)
    cfg.test_dataloader.dataset.pipeline[0].update(load)
    for read in (Preparation, partial(check, workers=1, progress=False)):
        with pytest.raises(ValueError, match=f'which is missing: .* -m pip install {package}$'):
            read(cfg)


def test_steps_within_steps_load_too(data):
    cfg = segmentor(data)
    *steps, last = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset.pipeline = [dict(type='Compose', transforms=steps), last]
    tested, inferred = both(cfg, save(data, photograph()), data)
    np.testing.assert_array_equal(inferred, tested)


def binary(**settings):
    return dict(HEAD, num_classes=2, out_channels=1, threshold=0.4, **settings)


@pytest.mark.parametrize(
    'options',
    [
        dict(heads=binary()),
        dict(heads=[HEAD, OCR]),
        dict(heads=dict(HEAD, type='DAHead', pam_channels=4, num_convs=None)),
        dict(test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(20, 20))),
    ],
    ids=['one channel out', 'cascade', 'several outputs', 'sliding'],
)
def test_any_head_gives_the_labels_of_a_test(options, data):
    if options.get('heads', {}) and 'num_convs' in options['heads']:
        heads = {k: v for k, v in options['heads'].items() if v is not None}
        options = dict(heads=heads)
    tested, inferred = both(segmentor(data, **options), save(data, photograph()), data)
    np.testing.assert_array_equal(inferred, tested)


def wrapped(cfg, how):
    loader = cfg.test_dataloader
    dataset = loader.dataset
    if how == 'ConcatDataset':
        loader.dataset = dict(
            type=how, datasets=[dict(type='RepeatDataset', times=1, dataset=dataset)]
        )
    elif how == 'RepeatDataset':
        loader.dataset = dict(type=how, times=2, dataset=dataset)
    else:
        cfg.val_dataloader, cfg.val_evaluator = loader, cfg.pop('test_evaluator')
        cfg.pop('test_dataloader'), cfg.pop('test_cfg')
    return cfg


@pytest.mark.parametrize('how', ['ConcatDataset', 'RepeatDataset', 'no test_dataloader'])
def test_a_dataset_is_found_inside_wrappers_and_in_the_validation(how, data):
    cfg = wrapped(segmentor(data, load=dict(color_type='grayscale'), channels=1), how)
    tested, inferred = both(cfg, save(data, photograph()), data)
    np.testing.assert_array_equal(inferred, tested)


def test_a_test_pipeline_alone_is_enough_and_none_is_told(data):
    file = save(data, photograph())
    cfg = segmentor(data)
    checkpoint = weights(cfg, data)
    expected = Predictor(cfg, checkpoint).predict([str(file)])[0].label_map
    loader = cfg.pop('test_dataloader')
    with pytest.raises(ValueError, match='no test_dataloader, val_dataloader or test_pipeline'):
        Predictor(cfg, checkpoint)
    cfg.test_pipeline = loader.dataset.pipeline
    alone = Predictor(cfg, checkpoint)
    np.testing.assert_array_equal(alone.predict([str(file)])[0].label_map, expected)
    assert alone.classes == ('0', '1', '2', '3')


def test_different_pipelines_are_warned_of(data):
    cfg = segmentor(data)
    one, other = cfg.test_dataloader.dataset, segmentor(data).test_dataloader.dataset
    other.pipeline[0].color_type = 'grayscale'
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[one, other])
    with pytest.warns(UserWarning, match='different pipelines; that of the first, BaseSegDataset'):
        Predictor(cfg, weights(segmentor(data), data))


@pytest.mark.parametrize('flag', ['color', 'grayscale', 'unchanged'])
def test_an_array_is_seen_as_a_file_of_it_would_be(flag, data):
    image = photograph()
    cfg = segmentor(data, load=dict(color_type=flag), channels=1 if flag == 'grayscale' else 3)
    predictor = Predictor(cfg, weights(cfg, data))
    file = save(data, image)
    for one, other in zip(*(predictor.predict([item]) for item in (str(file), image)), strict=True):
        np.testing.assert_array_equal(one.label_map, other.label_map)


def test_a_cut_picture_and_one_that_the_loader_cannot_read_are_told_and_others_done(data):
    cfg = segmentor(data, load=dict(color_type='unchanged'))
    file = save(data, photograph(), '.jpg')
    names = ('cut.jpg', 'glass.png', 'text.png')
    cut, glass, text = (data / 'pictures' / name for name in names)
    cut.write_bytes(file.read_bytes()[:-200])
    text.write_text('no')
    cv2.imwrite(
        str(glass), np.dstack([photograph(), photograph()[..., :1]])
    )  # not the network's three
    predictor = Predictor(cfg, weights(cfg, data))
    errors = infer(predictor, [str(data / 'pictures')], data / 'out')
    assert {e['input'].rpartition('/')[2] for e in errors} == set(names)
    (result,) = json.loads((data / 'out' / 'predictions.json').read_text())['results']
    assert result['input'] == str(file)
