"""The segmentation scenes made of scikit-learn's digits."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from filelock import FileLock

import ssn_mm  # noqa: F401  repairs the import of mmseg
from ssn_mm.datasets.digits import CLASSES, PALETTE, write_segmentation
from ssn_mm.datasets.digits import drawing as digits

SMALL = {'num_train': 60, 'num_val': 30, 'size': 64, 'progress': False}
TINY = {'num_train': 4, 'num_val': 2, 'size': 64, 'progress': False}


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    return write_segmentation(tmp_path_factory.mktemp('digits') / 'ade', **SMALL)


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def read(folder: Path) -> np.ndarray:
    paths = sorted(folder.iterdir())
    return np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths])


def fail_at(monkeypatch, call: int):
    """Makes the drawing of the given scene fail, as a full disk or Ctrl-C would."""
    draw, calls = digits.draw_scene, iter(range(call + 1))

    def failing(*args):
        if next(calls) == call:
            raise KeyboardInterrupt
        return draw(*args)

    monkeypatch.setattr(digits, 'draw_scene', failing)


def test_same_seed_gives_the_same_bytes(tmp_path):
    one, two = (contents(write_segmentation(tmp_path / name, **TINY)) for name in 'ab')
    assert len(one) == 2 * (4 + 2) + 1
    assert one == two


def test_a_scene_does_not_depend_on_how_many_there_are(written, tmp_path):
    few = contents(write_segmentation(tmp_path / 'ade', **TINY))
    del few['meta.json']
    many = contents(written)
    assert few == {name: many[name] for name in few}


def test_another_seed_gives_other_scenes_and_another_split(tmp_path):
    one, two = (contents(write_segmentation(tmp_path / str(s), s, **TINY)) for s in (0, 1))
    assert one.keys() == two.keys()
    assert all(one[name] != two[name] for name in one)
    assert not np.array_equal(*(digits.split_glyphs(s)['validation'][0] for s in (0, 1)))


def test_every_glyph_is_in_one_split_and_each_class_in_proportion():
    split = digits.split_glyphs(0)
    train, val = ({g.tobytes() for g in split[s][0]} for s in ('training', 'validation'))
    assert len(train) + len(val) == len(train | val) == 1797
    share = np.bincount(split['validation'][1]) / 180
    np.testing.assert_allclose(share, digits.VAL_FRACTION, atol=0.01)


def test_scenes_show_only_glyphs_of_their_split(monkeypatch, tmp_path):
    split = digits.split_glyphs(0)
    low, high = (
        tuple(part[keep] for part in split[name])
        for name, keep in [
            ('training', split['training'][1] < 5),
            ('validation', split['validation'][1] >= 5),
        ]
    )
    monkeypatch.setattr(digits, 'split_glyphs', lambda *_: {'training': low, 'validation': high})
    root = write_segmentation(tmp_path / 'ade', **TINY)
    train, val = (set(np.unique(read(root / 'annotations' / name))) for name in digits.SPLITS)
    assert {0, 1} < train <= {0, 1, *range(2, 7)}
    assert {0, 1} < val <= {0, 1, *range(7, 12)}


def test_layout_is_that_of_ade20k(written):
    assert {path.name for path in written.iterdir()} == {'images', 'annotations', 'meta.json'}
    for split, count in [('training', 60), ('validation', 30)]:
        images = sorted((written / 'images' / split).iterdir())
        labels = sorted((written / 'annotations' / split).iterdir())
        assert [p.stem for p in images] == [p.stem for p in labels]
        assert {p.suffix for p in images} == {'.jpg'}
        assert {p.suffix for p in labels} == {'.png'}
        pixels, values = (
            read(written / 'images' / split),
            read(written / 'annotations' / split),
        )
        assert (pixels.shape, values.shape) == ((count, 64, 64, 3), (count, 64, 64))
        assert values.dtype == np.uint8


@pytest.mark.parametrize('split', digits.SPLITS)
def test_every_class_occurs_in_both_splits(written, split):
    assert set(np.unique(read(written / 'annotations' / split))) == set(range(12))


def test_labels_are_blobs_that_an_output_stride_of_8_can_hold(tmp_path):
    root = write_segmentation(tmp_path / 'ade', num_train=30, num_val=1, progress=False)
    labels = read(root / 'annotations' / 'training')
    blobs = [
        row
        for label in labels
        for digit in range(2, 12)
        for row in cv2.connectedComponentsWithStats((label == digit).astype(np.uint8))[2][1:]
    ]
    assert len(blobs) >= 60
    areas = np.array([row[cv2.CC_STAT_AREA] for row in blobs])
    assert np.mean(areas >= 2 * 8 * 8) > 0.95
    assert (labels == 0).mean() < 0.1  # the ambiguous border is thin


def test_all_between_the_strokes_is_labelled_as_the_digit():
    glyph = digits.split_glyphs(0)['training'][0][0]  # a zero
    stroke, body = digits.place_glyph(np.random.default_rng(0), glyph, np.zeros((128, 128), bool))
    assert (stroke[body == 0] > 0.5).mean() < 0.001
    holes = cv2.connectedComponents((body == 0).astype(np.uint8))[0] - 1
    assert holes == 1  # the outside alone
    assert (stroke[body > 0] < 0.1).mean() > 0.1  # while the stroke has one


def test_images_differ_in_contrast_brightness_and_colour(written):
    pixels = read(written / 'images' / 'training').astype(float)
    mean, std = pixels.mean((1, 2, 3)), pixels.std((1, 2)).mean(1)
    assert np.percentile(std, 90) > 2.5 * np.percentile(std, 10)
    assert np.percentile(mean, 90) > 2 * np.percentile(mean, 10)
    colour = pixels.mean((1, 2)) / mean[:, None]
    assert (colour.std(0) > 0.1).all()


def test_digits_are_both_brighter_and_darker_than_their_surroundings(written):
    pixels = read(written / 'images' / 'training').mean(3)
    labels = read(written / 'annotations' / 'training')
    brighter = [p[y > 1].mean() > p[y == 1].mean() for p, y in zip(pixels, labels, strict=True)]
    assert 0.25 < np.mean(brighter) < 0.75


def test_mmseg_reads_the_labels_as_0_to_10_and_255(written):
    from mmseg.registry import DATASETS

    import ssn_mm.datasets.digits.segmentation  # noqa: F401

    dataset = DATASETS.build(
        {
            'type': 'DigitsSegDataset',
            'data_root': str(written),
            'data_prefix': {
                'img_path': 'images/validation',
                'seg_map_path': 'annotations/validation',
            },
            'pipeline': [{'type': 'LoadImageFromFile'}, {'type': 'mmseg.LoadAnnotations'}],
            **{key: SMALL[key] for key in ('num_train', 'num_val', 'size')},
        }
    )
    assert len(dataset) == 30
    assert dataset.metainfo['classes'] == CLASSES
    seen = np.stack([dataset[i]['gt_seg_map'] for i in range(30)])
    raw = read(written / 'annotations' / 'validation')
    assert set(np.unique(seen)) == {*range(11), 255}
    np.testing.assert_array_equal(seen, raw - 1)  # in uint8, 0 becomes 255


def test_a_lazy_dataset_leaves_the_disk_alone_and_a_loaded_one_writes(tmp_path):
    from ssn_mm.datasets.digits.segmentation import DigitsSegDataset

    prefix = {'img_path': 'images/training', 'seg_map_path': 'annotations/training'}
    sizes = {'num_train': 4, 'num_val': 2, 'size': 64}
    root = tmp_path / 'ade'
    dataset = DigitsSegDataset(str(root), data_prefix=prefix, lazy_init=True, **sizes)
    assert not root.exists()
    dataset.full_init()
    assert len(dataset) == 4


def test_palette_has_a_colour_for_each_class():
    assert len(CLASSES) == len(PALETTE) == len({tuple(rgb) for rgb in PALETTE}) == 11


def test_a_writer_that_dies_leaves_nothing_and_the_next_succeeds(monkeypatch, tmp_path):
    root = tmp_path / 'ade'
    with monkeypatch.context() as patch:
        fail_at(patch, call=3)
        with pytest.raises(KeyboardInterrupt):
            write_segmentation(root, **TINY)
    assert {path.name for path in tmp_path.iterdir()} <= {'.ade.ssn_mm.lock'}
    assert contents(write_segmentation(root, **TINY)).keys() > {'meta.json'}


def test_what_a_killed_writer_left_is_cleared(tmp_path):
    partial = tmp_path / '.ade.ssn_mm.tmp'
    left = partial / 'images' / 'training' / 'half.jpg'
    left.parent.mkdir(parents=True)
    left.write_bytes(b'half')
    root = write_segmentation(tmp_path / 'ade', **TINY)
    assert not partial.exists()
    assert not any('half' in name for name in contents(root))


def test_files_beside_the_dataset_are_left_alone(tmp_path):
    names = [f'ade.{ending}' for ending in ('tmp', 'lock', 'bak')]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / 'mine.txt').write_text('mine')
    write_segmentation(tmp_path / 'ade', **TINY)
    assert all((tmp_path / name / 'mine.txt').read_text() == 'mine' for name in names)


WRITER = """
import sys, types
package = types.ModuleType('package')  # the folder alone: ssn_mm takes seconds to import
package.__path__ = [sys.argv[1]]
sys.modules['package'] = package
from package import drawing as digits
drawn, draw = [], digits.draw_scene
digits.draw_scene = lambda *args: drawn.append(1) or draw(*args)
print('ready', flush=True)
digits.write_segmentation(sys.argv[2], num_train=4, num_val=2, size=64, progress=False)
print(len(drawn))
"""


def test_of_two_processes_at_once_one_writes(tmp_path):
    root = tmp_path / 'ade'
    lock = tmp_path / '.ade.ssn_mm.lock'
    with FileLock(lock):  # so that both find nothing and have to wait
        command = [sys.executable, '-c', WRITER, str(Path(digits.__file__).parent), str(root)]
        writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        assert [writer.stdout.readline() for writer in writers] == ['ready\n'] * 2
        with pytest.raises(subprocess.TimeoutExpired):
            writers[0].wait(timeout=0.5)
    drawn = sorted(int(writer.communicate(timeout=60)[0]) for writer in writers)
    assert drawn == [0, 6]
    assert contents(root) == contents(write_segmentation(tmp_path / 'alone', **TINY))


def test_a_finished_folder_is_left_alone(monkeypatch, written):
    fail_at(monkeypatch, call=0)
    assert write_segmentation(written, **SMALL) == written


def test_other_settings_are_refused_naming_both(written):
    with pytest.raises(ValueError, match=r"'seed': 0.*'seed': 7.*delete the folder") as raised:
        write_segmentation(written, **SMALL, seed=7)
    assert str(written) in str(raised.value)
    assert json.loads((written / 'meta.json').read_text())['seed'] == 0


@pytest.mark.parametrize('name', ['notes.txt', 'meta.json'])
def test_a_folder_that_is_nothing_is_refused_and_kept(tmp_path, name):
    (tmp_path / name).write_text('mine')
    with pytest.raises(ValueError, match='no complete digits dataset'):
        write_segmentation(tmp_path, **TINY)
    assert (tmp_path / name).read_text() == 'mine'


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match=r'cannot write .*file/ade.* name another folder'):
        write_segmentation(tmp_path / 'file' / 'ade', **TINY)


@pytest.mark.parametrize(
    ('argument', 'value'),
    [
        ('num_train', 0),
        ('num_val', -3),
        ('size', 63),
        ('seed', -1),
        ('seed', 2**32),
        ('size', 64.5),
    ],
)
def test_bad_arguments_are_quoted(tmp_path, argument, value):
    with pytest.raises(ValueError, match=rf'{argument} must be .*got {value}'):
        write_segmentation(tmp_path / 'ade', **{**TINY, argument: value})
    assert not any(tmp_path.iterdir())
