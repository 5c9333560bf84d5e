"""Videos as they are: without a length, damaged, turned, odd, empty, or no video at all."""

import json
import struct
import tracemalloc
import wave

import cv2
import numpy as np
import pytest
import torch
from conftest import SAMPLES
from narrow import narrow
from sklearn.datasets import load_sample_images

from ssn_mm.apis import Predictor
from ssn_mm.apis.readers import UnreadableError
from ssn_mm.apis.record import Record
from ssn_mm.apis.videos import Frames, Video
from ssn_mm.cli.infer import infer
from ssn_mm.datasets.pipelines import Preparation
from ssn_mm.deploy.networks import build_network

pytestmark = pytest.mark.mmaction


COUNT = 24


def film(file, code='mp4v', count=COUNT, size=(96, 64), rate=10):
    """A pan over a photograph; each frame is brighter at the top left than the one before."""
    china = load_sample_images().images[0][..., ::-1]
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*code), rate, size)
    assert writer.isOpened()
    for number in range(count):
        left = 3 * number
        writer.write(np.ascontiguousarray(china[100 : 100 + size[1], left : left + size[0]]))
    writer.release()
    return file


def without_duration(file):
    """As a browser records it: in the place of its duration a WebM has nothing."""
    content = film(file, 'VP80').read_bytes()
    place = content.index(b'\x44\x89\x88')  # Duration, 8 bytes
    file.write_bytes(content[:place] + b'\xec\x89' + content[place + 2 :])  # Void
    assert cv2.VideoCapture(str(file)).get(cv2.CAP_PROP_FRAME_COUNT) < 0
    return file


def damaged(file, code='mp4v'):
    content = bytearray(film(file, code).read_bytes())
    middle = range(len(content) * 4 // 10, len(content) * 6 // 10)
    content[middle.start : middle.stop] = np.random.default_rng(0).bytes(len(middle))
    file.write_bytes(content)
    return file


def turned(file):
    """As a telephone held upright records it: lying, with a matrix that turns it."""
    content = bytearray(film(file).read_bytes())
    place = content.index(b'tkhd') + 44
    matrix = (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    content[place : place + 36] = struct.pack('>9i', *matrix)
    file.write_bytes(content)
    return file


def odd_film(file):
    """A stream of JPEGs; OpenCV's writers make sizes even."""
    frames = (np.full((65, 97, 3), 9 * number, np.uint8) for number in range(COUNT))
    file.write_bytes(b''.join(cv2.imencode('.jpg', frame)[1].tobytes() for frame in frames))
    return file


def sound(file):
    with wave.open(str(file), 'wb') as written:
        written.setparams((1, 2, 8000, 0, 'NONE', ''))
        written.writeframes(bytes(16000))
    return file


@pytest.fixture(scope='module')
def networks(tmp_path_factory):
    """A network for pictures and one for videos, with random weights."""
    folder = tmp_path_factory.mktemp('networks')
    for task in ('resnet', 'i3d'):
        torch.manual_seed(0)
        state = build_network(narrow(task)).state_dict()
        torch.save(dict(state_dict=state), folder / f'{task}.pth')
    return {task: Predictor(narrow(task), folder / f'{task}.pth') for task in ('resnet', 'i3d')}


def results(folder):
    return json.loads((folder / 'predictions.json').read_text())['results']


@pytest.mark.parametrize('task', ['resnet', 'i3d'])
def test_a_webm_without_duration_is_read_and_so_are_the_others(task, networks, tmp_path):
    given = [without_duration(tmp_path / 'browser.webm'), film(tmp_path / 'whole.mp4')]
    some = dict(frames=3) if task == 'resnet' else {}
    assert infer(networks[task], [str(f) for f in given], tmp_path / 'out', **some) == []
    first, second = results(tmp_path / 'out')
    assert (first['input'], second['input']) == tuple(map(str, given))
    if task == 'resnet':
        assert [frame['frame'] for frame in first['frames']] == [0, 12, 23]
    else:
        assert 'another one was used' in first['note']
        assert 'note' not in second


def test_the_frames_that_another_reader_gives_are_those_of_the_pipelines_own(networks, tmp_path):
    file = str(film(tmp_path / 'whole.avi', 'MJPG'))
    preparation = networks['i3d'].preparation
    own, other = (preparation(file, reader).sample for reader in (None, Video(file)))
    # decoders differ by rounding
    assert (own['inputs'].float() - other['inputs'].float()).abs().mean() < 1


@pytest.mark.parametrize('package', ['OpenCV', 'PyAV', 'PIMS'])
def test_another_reader_gives_the_same_colours_whatever_the_pipeline_decodes_by(
    package, networks, tmp_path
):
    file = str(film(tmp_path / 'whole.avi', 'MJPG'))
    expected = networks['i3d'].preparation(file).sample['inputs'].float()
    cfg = narrow('i3d')
    for step in cfg.test_dataloader.dataset.pipeline:
        step.type = step.type.replace('Decord', package)
    found = Preparation(cfg)(file, Video(file)).sample['inputs'].float()
    assert (found - expected).abs().mean() < 1  # blue for red would be more


def test_a_named_file_of_another_suffix_is_read_as_the_network_takes_it(networks, tmp_path):
    given = [film(tmp_path / 'whole.wmv', 'MJPG'), tmp_path / 'recording', tmp_path / 'x.ogv']
    for copy in given[1:]:
        copy.write_bytes(given[0].read_bytes())
    assert infer(networks['i3d'], [str(file) for file in given], tmp_path / 'out') == []


def test_a_folder_gives_a_network_for_pictures_its_videos_too(networks, tmp_path):
    (tmp_path / 'mixed' / 'folder.mp4').mkdir(parents=True)
    film(tmp_path / 'mixed' / 'UPPER.AVI', 'MJPG')
    cv2.imwrite(str(tmp_path / 'mixed' / 'one.png'), np.zeros((48, 48, 3), np.uint8))
    own = networks['resnet']
    assert infer(own, [str(tmp_path / 'mixed')], tmp_path / 'out', frames=2) == []
    assert [result['kind'] for result in results(tmp_path / 'out')] == ['image', 'video']


@pytest.mark.parametrize('task', ['resnet', 'i3d'])
@pytest.mark.parametrize('code', ['mp4v', 'MJPG'])
def test_of_a_video_damaged_in_the_middle_the_rest_is_read(task, code, networks, tmp_path):
    suffix = 'mp4' if code == 'mp4v' else 'avi'
    given = [damaged(tmp_path / f'damaged.{suffix}', code), film(tmp_path / 'whole.mp4')]
    errors = infer(networks[task], [str(f) for f in given], tmp_path / 'out')
    assert errors == []
    first, second = results(tmp_path / 'out')
    assert first['input'] == str(given[0])
    if task == 'resnet':
        assert len(second['frames']) == COUNT
        assert 5 < len(first['frames']) <= COUNT


@pytest.mark.parametrize('task', ['resnet', 'i3d'])
def test_what_holds_no_frame_is_named_and_the_others_are_done(task, networks, tmp_path):
    (tmp_path / 'empty.mp4').touch()
    (tmp_path / 'noise.mp4').write_bytes(np.random.default_rng(0).bytes(5000))
    whole = film(tmp_path / 'whole.mp4')
    (tmp_path / 'cut.mp4').write_bytes(whole.read_bytes()[:-900])  # without its index
    sound(tmp_path / 'sound.mp4')
    names = ['cut.mp4', 'empty.mp4', 'noise.mp4', 'sound.mp4']
    given = [str(tmp_path / name) for name in [*names, 'whole.mp4']]
    errors = infer(networks[task], given, tmp_path / 'out')
    assert [error['input'] for error in errors] == given[:-1]
    assert all('is no video that can be decoded' in error['error'] for error in errors)
    assert [result['input'] for result in results(tmp_path / 'out')] == [str(whole)]


def test_half_an_avi_that_kills_a_decoder_ends_nothing(networks, tmp_path):
    """decord 0.6 takes its process along when it opens half an AVI from memory."""
    whole = film(tmp_path / 'whole.avi', 'XVID', count=100)
    content = whole.read_bytes()
    half = tmp_path / 'half.avi'
    half.write_bytes(content[: len(content) // 2])
    assert infer(networks['i3d'], [str(half), str(whole)], tmp_path / 'out') == []
    assert [r['input'] for r in results(tmp_path / 'out')] == [str(half), str(whole)]


@pytest.mark.parametrize('task', ['resnet', 'i3d'])
def test_turned_odd_and_single_frames_are_seen_upright_and_whole(task, networks, tmp_path):
    given = [
        turned(tmp_path / 'turned.mp4'),
        odd_film(tmp_path / 'odd.avi'),
        film(tmp_path / 'one.mp4', count=1),
    ]
    assert infer(networks[task], [str(f) for f in given], tmp_path / 'out', batch_size=1) == []
    upright, odd, one = results(tmp_path / 'out')
    assert len(one.get('frames', '1')) == 1
    frame = next(iter(Frames(str(given[0]))))[1]
    assert frame.shape == (96, 64, 3)
    assert next(iter(Frames(str(given[1]))))[1].shape == (65, 97, 3)
    for result in (upright, odd, one):
        overlay = cv2.VideoCapture(str(tmp_path / 'out' / result['overlay']))
        assert overlay.read()[0]


@pytest.mark.parametrize('rate', [0.5, 333.333, 1000.0])
def test_an_overlay_of_any_rate_is_a_video(rate, networks, tmp_path, monkeypatch):
    file = film(tmp_path / 'whole.mp4', count=4)
    monkeypatch.setattr('ssn_mm.cli.infer.Frames', lambda *_: Rated(str(file), rate))
    assert infer(networks['resnet'], [str(file)], tmp_path / 'out') == []
    (result,) = results(tmp_path / 'out')
    overlay = cv2.VideoCapture(str(tmp_path / 'out' / result['overlay']))
    assert overlay.get(cv2.CAP_PROP_FRAME_COUNT) == 4


class Rated(Frames):
    def __init__(self, path, rate):
        super().__init__(path)
        self.rate = rate


def test_a_file_that_ends_before_the_length_that_it_states_is_noted(networks, tmp_path):
    whole = film(tmp_path / 'whole.avi', 'MJPG').read_bytes()
    (tmp_path / 'half.avi').write_bytes(whole[: len(whole) // 2])
    infer(networks['resnet'], [str(tmp_path / 'half.avi')], tmp_path / 'out')
    (result,) = results(tmp_path / 'out')
    assert 0 < len(result['frames']) < COUNT
    assert result['note'] == f'ends after {len(result["frames"])} of the 24 frames that it states'


def test_a_file_that_is_no_video_says_what_each_reader_said(tmp_path):
    (tmp_path / 'text.mp4').write_text('no')
    with pytest.raises(UnreadableError, match='OpenCV: cannot open it; decord: '):
        Frames(str(tmp_path / 'text.mp4'))


def test_memory_does_not_grow_with_the_frames_of_a_video(tmp_path):
    record = Record()
    tracemalloc.start()
    with record.growing(dict(input='long.mp4'), 'frames') as frames:
        for number in range(20_000):
            frames.add(dict(frame=number, labels=[dict(label=i, share=0.1) for i in range(5)]))
    record.write(tmp_path / 'predictions.json', task='segmentation', classes=())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6
    (result,) = results(tmp_path)
    assert result['frames'][-1]['frame'] == 19_999


def test_after_ctrl_c_within_a_video_its_first_frames_are_there(networks, tmp_path, monkeypatch):
    file, calls = film(tmp_path / 'whole.mp4'), []
    predict = networks['resnet'].predict

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return predict(*arguments)

    monkeypatch.setattr(networks['resnet'], 'predict', interrupted)
    with pytest.raises(KeyboardInterrupt):
        infer(networks['resnet'], [str(file)], tmp_path / 'out', batch_size=2)
    (result,) = results(tmp_path / 'out')
    assert [frame['frame'] for frame in result['frames']] == list(range(6))
    overlay = cv2.VideoCapture(str(tmp_path / 'out' / result['overlay']))
    assert overlay.get(cv2.CAP_PROP_FRAME_COUNT) == 6


@pytest.mark.skipif(not SAMPLES.is_dir(), reason='no real videos here')
@pytest.mark.parametrize('limit', [None, 3])
def test_a_video_of_which_only_the_start_is_left_is_told_as_damaged(limit, tmp_path):
    content = bytearray((SAMPLES / 'videos/part_0.mp4').read_bytes())
    start, end = content.index(b'mdat') + 3004, content.index(b'moov')
    content[start:end] = bytes(end - start)
    file = tmp_path / 'damaged.mp4'
    file.write_bytes(content)
    with pytest.raises(UnreadableError, match='no frame of it can be decoded; the file is damaged'):
        list(Frames(str(file), limit))
