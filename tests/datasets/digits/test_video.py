"""The videos made of scikit-learn's digits."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from scipy.stats import kstest
from sklearn.ensemble import RandomForestClassifier

from ssn_mm.datasets.check.checks import check
from ssn_mm.datasets.digits import video
from ssn_mm.datasets.digits.drawing import split_glyphs
from ssn_mm.datasets.digits.video import MOTIONS, DigitsVideoDataset, draw_poses, write_videos

CONFIG = Path(__file__).parents[3] / 'configs/_base_/datasets/digits_video.py'
TINY = {'num_train': 9, 'num_val': 3, 'size': 32, 'frames': 6, 'progress': False}


def contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def listed(root, split):
    lines = (root / f'digits_{split}_list_videos.txt').read_text().splitlines()
    return [(name, int(label)) for name, label in (line.split(' ') for line in lines)]


def decode(path):
    from decord import VideoReader

    reader = VideoReader(str(path), num_threads=1)
    return reader.get_batch(range(len(reader))).asnumpy()


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """Digits on plain grey, so that they are easily found."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video, 'draw_background', lambda _, s: np.zeros((s, s, 3), np.float32))
        root = tmp_path_factory.mktemp('digits') / 'kinetics'
        return write_videos(root, num_train=320, num_val=8, progress=False)


@pytest.fixture(scope='module')
def inks(written):
    """How far each training frame is from the grey, (N, T, H, W), and the labels (N,)."""
    names, labels = zip(*listed(written, 'train'), strict=True)
    inks = []
    for name in names:
        frames = decode(written / 'videos_train' / name).astype(np.float32)
        ink = np.abs(frames - frames[0, 0, 0]).mean(-1)  # no digit comes into the corner
        inks.append(ink / ink.max())
    return np.stack(inks), np.array(labels)


def lie(ink):
    """How a digit lies in a picture: x, y, spread, and its main axis as cos and sin of twice it."""
    y, x = np.nonzero(ink > 0.4)
    (a, b), (_, c) = np.cov(x, y)
    turn = np.arctan2(2 * b, a - c)
    return [x.mean(), y.mean(), np.sqrt(a + c), np.cos(turn), np.sin(turn)]


def test_the_layout_is_that_of_kinetics(written):
    names = {'videos_train', 'videos_val', 'meta.json'}
    names |= {f'digits_{split}_list_videos.txt' for split in ('train', 'val')}
    assert {path.name for path in written.iterdir()} == names
    for split, count in (('train', 320), ('val', 8)):
        files = [
            p.relative_to(written / f'videos_{split}') for p in written.rglob(f'*{split}_*.mp4')
        ]
        rows = listed(written, split)
        assert sorted(map(str, files)) == sorted(name for name, _ in rows)
        assert [name.split('/')[0] for name, _ in rows] == [list(MOTIONS)[k] for _, k in rows]
        assert set(Counter(label for _, label in rows).values()) == {count // 8}


def test_every_video_decodes_to_all_its_frames(written):
    for name, _ in listed(written, 'val'):
        frames = decode(written / 'videos_val' / name)
        assert frames.shape == (24, 64, 64, 3)
        assert frames.dtype == np.uint8


def test_the_label_is_how_the_digit_moves(inks):
    def fit(ink, motion):
        """How badly frames four later are foretold by this motion; the median skips the loop."""
        axis, way = MOTIONS[motion]
        errors = []
        for now, later in zip(ink[:-4], ink[4:], strict=True):
            x, y, *_ = lie(now)
            step, scale = way * 4 / 18, 1.0
            affine = np.eye(2, 3)
            if axis < 2:
                affine[axis, 2] = 64 * video.WAY * step
            else:
                if axis == 3:
                    scale = (video.HEIGHTS[1] / video.HEIGHTS[0]) ** step
                degrees = -360 * step if axis == 2 else 0  # OpenCV's are counter-clockwise
                affine = cv2.getRotationMatrix2D((x, y), degrees, scale)
            errors.append(np.abs(cv2.warpAffine(now, affine, (64, 64)) - later).mean())
        return np.median(errors)

    ink, labels = (part[:80] for part in inks)
    measured = [np.argmin([fit(one, motion) for motion in MOTIONS]) for one in ink]
    assert np.mean(measured == labels) > 0.95


@pytest.mark.parametrize('motion', MOTIONS)
@pytest.mark.parametrize('frame', [0, 12, 23])
def test_the_pose_of_one_frame_is_uniform_whatever_the_motion(motion, frame):
    poses = np.array([draw_poses(np.random.default_rng(i), motion, 24)[frame] for i in range(1000)])
    for phase in poses.T:
        assert kstest(phase, 'uniform').pvalue > 1e-3
    assert np.abs(np.corrcoef(poses.T) - np.eye(4)).max() < 0.12


def test_a_motion_moves_one_part_of_the_pose_and_the_others_rest():
    for motion, (axis, way) in MOTIONS.items():
        steps = np.diff(draw_poses(np.random.default_rng(0), motion, 24), axis=0)
        assert not np.delete(steps, axis, 1).any()
        running = steps[:, axis][np.abs(steps[:, axis]) < 0.5]
        assert len(running) >= 21  # the rest start over
        np.testing.assert_allclose(running, running[0])
        assert np.sign(running[0]) == way


def test_one_decoded_frame_tells_nothing_of_the_class_and_two_do(inks):
    ink, labels = inks
    seen = np.array([[lie(one[t]) for t in (4, 10, 16)] for one in ink])  # (N, 3, 5)
    change = np.diff(seen, axis=1).reshape(len(seen), -1)

    def accuracy(features):
        forest = RandomForestClassifier(200, min_samples_leaf=3, random_state=0)
        forest.fit(features[:200], labels[:200])
        return np.mean(forest.predict(features[200:]) == labels[200:])

    chance = 1 / 8 + 3 * np.sqrt(1 / 8 * 7 / 8 / 120)
    for at in range(3):
        assert accuracy(seen[:, at]) < chance
    assert accuracy(change) > 0.6


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    one, two, other = (
        contents(write_videos(tmp_path / name, seed, **TINY))
        for name, seed in (('a', 0), ('b', 0), ('c', 1))
    )
    assert len(one) == 9 + 3 + 2 + 1
    assert one == two
    assert all(one[name] != other[name] for name in one if name.endswith('.mp4'))


def test_a_video_does_not_depend_on_how_many_there_are(tmp_path):
    few = contents(write_videos(tmp_path / 'few', **{**TINY, 'num_train': 2}))
    many = contents(write_videos(tmp_path / 'many', **TINY))
    names = [name for name in few if name.endswith('.mp4')]
    assert len(names) == 2 + 3
    assert all(few[name] == many[name] for name in names)


def test_validation_shows_no_glyph_of_training(monkeypatch, tmp_path):
    shown = []
    draw = video.draw_video
    monkeypatch.setattr(
        video, 'draw_video', lambda rng, glyph, *a: shown.append(glyph) or draw(rng, glyph, *a)
    )
    write_videos(tmp_path / 'kinetics', **TINY)
    split = split_glyphs(0)
    assert len(shown) == 12
    for name, glyphs in (('training', shown[:9]), ('validation', shown[9:])):
        ours = {glyph.tobytes() for glyph in split[name][0]}
        assert all(glyph.tobytes() in ours for glyph in glyphs)


def test_a_writer_that_dies_leaves_nothing_and_the_next_succeeds(monkeypatch, tmp_path):
    root = tmp_path / 'kinetics'
    write, calls = video._write_video, iter(range(4))

    def failing(path, frames):
        if next(calls) == 3:
            path.write_bytes(b'half')
            raise KeyboardInterrupt
        write(path, frames)

    with monkeypatch.context() as patch:
        patch.setattr(video, '_write_video', failing)
        with pytest.raises(KeyboardInterrupt):
            write_videos(root, **TINY)
    assert {path.name for path in tmp_path.iterdir()} <= {'.kinetics.ssn_mm.lock'}
    files = contents(write_videos(root, **TINY))
    assert b'half' not in files.values()


def test_a_video_that_opencv_cannot_write_is_named(tmp_path):
    frames = np.zeros((6, 32, 32, 3), np.uint8)
    with pytest.raises(OSError, match=r'wrote 0 of 6 frames of a\.mp4'):
        video._write_video(tmp_path / 'no' / 'a.mp4', frames)


@pytest.mark.parametrize(
    ('argument', 'value', 'bound'),
    [
        ('num_train', 0, 'at least 1'),
        ('num_val', -3, 'at least 1'),
        ('size', 48, 'a multiple of 32'),
        ('size', 0, 'at least 32'),
        ('frames', 1, 'at least 2'),
        ('frames', 2.5, 'an integer'),
        ('seed', -1, r'in 0\.\.4294967295'),
    ],
)
def test_bad_arguments_are_quoted(tmp_path, argument, value, bound):
    with pytest.raises(ValueError, match=rf'{argument} must be {bound}, got {value}'):
        write_videos(tmp_path / 'kinetics', **{**TINY, argument: value})
    assert not any(tmp_path.iterdir())


def settings(split, root):
    """The dataset of the demos' config, at a size that takes a second."""
    node = Config.fromfile(CONFIG)[f'{split}_dataloader'].dataset
    return {**node, 'data_root': str(root), 'num_train': 16, 'num_val': 8}


def test_the_pipelines_take_clips_in_the_models_form(tmp_path):
    from mmaction.registry import DATASETS
    from mmaction.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmaction'):
        train, val = (DATASETS.build(settings(s, tmp_path / 'digits')) for s in ('train', 'val'))
    assert (len(train), len(val)) == (16, 8)
    assert train.metainfo['classes'] == tuple(MOTIONS)
    assert train[9]['inputs'].shape == (1, 3, 8, 32, 32)
    assert val[0]['inputs'].shape == (3, 3, 8, 32, 32)
    assert [int(val[i]['data_samples'].gt_label) for i in range(8)] == list(range(8))


def test_no_pipeline_flips():
    cfg = Config.fromfile(CONFIG)
    used = {t['type'] for split in ('train', 'test') for t in cfg[f'{split}_pipeline']}
    assert {'DecordInit', 'DecordDecode'} < used
    assert not {name for name in used if 'Flip' in name or 'Imgaug' in name}


def test_a_lazy_dataset_leaves_the_disk_alone_and_a_loaded_one_writes(tmp_path):
    node = settings('train', tmp_path / 'digits')
    del node['type'], node['pipeline']
    dataset = DigitsVideoDataset(**node, pipeline=[], lazy_init=True)
    assert not any(tmp_path.iterdir())
    dataset.full_init()
    assert len(dataset) == 16


def test_the_data_checker_finds_nothing_to_complain_about(tmp_path):
    cfg = Config.fromfile(CONFIG)
    cfg.default_scope = 'mmaction'
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset = settings(split, tmp_path / 'digits')
    train, val, _ = check(cfg, workers=1, progress=False)
    assert (train.task, train.faults, val.faults) == ('video', [], [])
    assert train.classes == list(MOTIONS)
    assert train.counts == dict.fromkeys(range(8), 2)
