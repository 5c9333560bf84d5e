"""The classification pictures made of scikit-learn's digits."""

import cv2
import mmpretrain.datasets  # noqa: F401, registers the transforms
import numpy as np
import pytest
from mmengine.registry import DefaultScope

from ssn_mm.datasets.digits import CLASSES, classification
from ssn_mm.datasets.digits import drawing as digits
from ssn_mm.datasets.digits.classification import DigitsClsDataset, write_classification

TINY = {'num_train': 23, 'num_val': 10, 'size': 40}
FOLDERS = [f'digit{digit}' for digit in range(10)]


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    return write_classification(tmp_path_factory.mktemp('w') / 'imagenet', **TINY, progress=False)


def contents(root):
    paths = sorted(path for path in root.rglob('*') if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def dataset(root, split, **more):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        pipeline = [{'type': 'LoadImageFromFile'}]
        return DigitsClsDataset(str(root), split=split, pipeline=pipeline, **{**TINY, **more})


@pytest.fixture
def drawn(monkeypatch):
    """The glyphs of all pictures drawn from now on."""
    glyphs, draw = [], classification.draw_picture

    def recording(rng, glyph, size):
        glyphs.append(glyph)
        return draw(rng, glyph, size)

    monkeypatch.setattr(classification, 'draw_picture', recording)
    return glyphs


def test_layout_is_that_of_imagenet(written):
    assert {path.name for path in written.iterdir()} == {'train', 'val', 'meta.json'}
    for split in ('train', 'val'):
        assert sorted(path.name for path in (written / split).iterdir()) == FOLDERS
    files = [path for path in written.rglob('*') if path.is_file() and path.name != 'meta.json']
    assert len(files) == len({path.name for path in files}) == 33
    assert {path.suffix for path in files} == {'.JPEG'}
    assert {path.read_bytes()[:3] for path in files} == {b'\xff\xd8\xff'}  # JPEG's own mark


@pytest.mark.parametrize(('size', 'split'), [(40, 'train'), (64, 'val')])
def test_pictures_are_square_colour_images_of_the_asked_size(tmp_path, size, split):
    root = write_classification(tmp_path / 'w', num_train=10, num_val=10, size=size, progress=False)
    pictures = [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in (root / split).rglob('*.JPEG')]
    assert {p.shape for p in pictures} == {(size, size, 3)}
    assert all(np.ptp(p.mean((0, 1))) > 0.5 for p in pictures)  # none is grey


def test_classes_have_the_same_number_of_pictures(written):
    counts = [len(list((written / 'train' / folder).iterdir())) for folder in FOLDERS]
    assert counts == [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]
    assert {len(list((written / 'val' / folder).iterdir())) for folder in FOLDERS} == {1}


def test_mmpretrain_reads_the_drawn_digit_as_the_label(tmp_path, drawn):
    train, val = (dataset(tmp_path / 'w', split) for split in ('train', 'val'))
    assert (len(train), len(val)) == (23, 10)
    assert train.metainfo['classes'] == CLASSES[1:]
    split = digits.split_glyphs(0)
    order = [('train', i) for i in range(23)] + [('val', i) for i in range(10)]
    labels = {
        int(info['img_path'][-13:-5]) + 100 * (name == 'val'): info['gt_label']
        for name, part in (('train', train), ('val', val))
        for info in (part.get_data_info(i) for i in range(len(part)))
    }
    assert len(drawn) == len(labels) == 33
    for (name, i), glyph in zip(order, drawn, strict=True):
        images, truth = split[{'train': 'training', 'val': 'validation'}[name]]
        (place,) = np.flatnonzero((images == glyph).all((1, 2)))  # in its own split only
        assert truth[place] == labels[i + 100 * (name == 'val')]


def test_a_digit_is_brighter_than_its_surroundings(monkeypatch):
    strokes, place = [], digits.place_glyph

    def recording(*args, **kwargs):
        strokes.append(place(*args, **kwargs))
        return strokes[-1]

    monkeypatch.setattr(classification, 'place_glyph', recording)
    glyph = digits.split_glyphs(0)['training'][0][0]
    for seed in range(20):
        picture = classification.draw_picture(np.random.default_rng(seed), glyph, 64).mean(2)
        stroke, body = strokes[-1]
        assert picture[stroke > 0.9].mean() > picture[body == 0].mean()


def test_pictures_differ_in_place_and_size_of_the_digit(monkeypatch):
    boxes, place = [], digits.place_glyph

    def recording(*args, **kwargs):
        stroke, body = place(*args, **kwargs)
        boxes.append(cv2.boundingRect(body))
        return stroke, body

    monkeypatch.setattr(classification, 'place_glyph', recording)
    glyph = digits.split_glyphs(0)['training'][0][0]
    for seed in range(40):
        classification.draw_picture(np.random.default_rng(seed), glyph, 64)
    x, y, width, height = np.array(boxes).T
    longer = np.maximum(width, height)
    assert longer.min() >= 0.45 * 64
    assert (x + width).max() <= 64
    assert (y + height).max() <= 64
    assert np.ptp(longer) > 12
    assert np.ptp(x) > 16
    assert np.ptp(y) > 8


def test_same_seed_gives_the_same_bytes_and_another_seed_others(written, tmp_path):
    again = contents(write_classification(tmp_path / 'a', **TINY, progress=False))
    assert again == contents(written)
    other = contents(write_classification(tmp_path / 'b', 1, **TINY, progress=False))
    assert other.keys() == again.keys()
    assert all(other[name] != again[name] for name in again)


def test_a_writer_that_dies_leaves_nothing_and_the_next_succeeds(monkeypatch, tmp_path, written):
    draw, left = classification.draw_picture, iter([1] * 7)

    def failing(*args):
        if not next(left, 0):
            raise KeyboardInterrupt
        return draw(*args)

    with monkeypatch.context() as patch:
        patch.setattr(classification, 'draw_picture', failing)
        with pytest.raises(KeyboardInterrupt):
            write_classification(tmp_path / 'w', **TINY, progress=False)
    assert {path.name for path in tmp_path.iterdir()} <= {'.w.ssn_mm.lock'}
    root = write_classification(tmp_path / 'w', **TINY, progress=False)
    assert contents(root) == contents(written)


def test_a_lazy_dataset_leaves_the_disk_alone_and_a_loaded_one_writes(tmp_path):
    lazy = dataset(tmp_path / 'w', 'val', lazy_init=True)
    assert not (tmp_path / 'w').exists()
    lazy.full_init()
    assert len(lazy) == 10
    assert lazy[3]['img'].shape == (40, 40, 3)


def test_a_folder_of_another_task_is_refused(tmp_path):
    root = digits.write_segmentation(tmp_path / 'w', num_train=1, num_val=1, size=64)
    with pytest.raises(ValueError, match=r"'segmentation'.*'classification'.*delete the folder"):
        write_classification(root, **TINY)


@pytest.mark.parametrize(
    ('argument', 'value'),
    [('num_train', 9), ('num_val', 0), ('size', 39), ('seed', -1), ('size', 64.5)],
)
def test_bad_arguments_are_quoted(tmp_path, argument, value):
    with pytest.raises(ValueError, match=rf'{argument} must be .*got {value}'):
        write_classification(tmp_path / 'w', **{**TINY, argument: value})
    assert not any(tmp_path.iterdir())
