import json
import os
import shutil
import sys
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, SAMPLES
from mmengine.registry import MODELS, init_default_scope
from narrow import DEMOS, NARROW, narrow
from sklearn.datasets import load_sample_images

from ssn_mm import set_radius
from ssn_mm.apis import Predictor, readers
from ssn_mm.apis.painting import Painter
from ssn_mm.apis.predictor import Prediction
from ssn_mm.apis.videos import Frames
from ssn_mm.cli.infer import infer
from ssn_mm.cli.tool import run_tool
from ssn_mm.deploy import (
    TensorMode,
    export_onnx,
    export_openvino,
    export_program,
    fold,
    freeze,
    save_frozen,
)
from ssn_mm.layers import ssn_layers

pytestmark = pytest.mark.mmaction


NAMES = {'resnet': 10, 'deeplab': 11, 'i3d': 8}


@pytest.fixture(scope='module')
def networks(tmp_path_factory, long):
    """A checkpoint with random selections and its frozen form, of every task; ONNX of one, or all.

    ONNX files of segmentors infer in tests/deploy/test_networks.py, of clips in tests/runs.
    """
    folder = tmp_path_factory.mktemp('networks')
    torch.manual_seed(0)
    for task, count in NAMES.items():
        cfg = narrow(task)
        init_default_scope(cfg.default_scope)
        model = MODELS.build(cfg.model)
        for _, layer in ssn_layers(model):
            layer.ratio_logits.data.copy_(torch.eye(3)[torch.randint(3, (2,))])
        set_radius(model, 1.0)
        for name, parameter in model.named_parameters():
            if name.endswith('bn2.weight'):
                parameter.data.fill_(1)  # where a block starts as nothing
        meta = dict(dataset_meta=dict(classes=[f'{task} {i}' for i in range(count)]))
        file = folder / f'{task}.pth'
        torch.save(dict(state_dict=model.state_dict(), meta=meta), file)
        model.eval()
        sizes = {'resnet': (2, 3, 64, 64), 'deeplab': (2, 3, 64, 64), 'i3d': (2, 2, 3, 8, 32, 32)}
        inputs = torch.randn(sizes[task])
        with torch.no_grad():
            TensorMode(model)(inputs)
        layers = [name for name, _ in ssn_layers(model)]
        freeze(model)
        frozen = {name: model.get_submodule(name) for name in layers}
        save_frozen(model, frozen, folder / f'{task}.frozen.pth', meta['dataset_meta'])
        if task == 'resnet' or long:
            fold(TensorMode(model).eval(), inputs)
            export_onnx(model, inputs, folder / f'{task}.onnx', meta['dataset_meta'])
            export_program(model, inputs, folder / f'{task}.pt2', meta['dataset_meta'])
            if find_spec('openvino'):
                export_openvino(model, inputs, folder / f'{task}.xml', meta['dataset_meta'])
    return folder


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    """Two photographs, in different sizes, grey and with transparency."""
    folder = tmp_path_factory.mktemp('pictures')
    china, flower = load_sample_images().images
    (folder / 'more').mkdir()
    cv2.imwrite(str(folder / 'china.jpg'), china[::4, ::4, ::-1])
    cv2.imwrite(str(folder / 'flower.png'), flower[::5, ::4, ::-1])
    cv2.imwrite(str(folder / 'more/grey.png'), flower[::4, ::4, 0])
    cv2.imwrite(str(folder / 'more/glass.png'), np.dstack([china[::4, ::4], china[::4, ::4, :1]]))
    cv2.imwrite(str(folder / 'more/deep.png'), flower[::4, ::4].astype(np.uint16) * 200)
    return folder


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    """Twenty frames of a pan over a photograph."""
    file = tmp_path_factory.mktemp('videos') / 'pan.mp4'
    china = load_sample_images().images[0][..., ::-1]
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*'mp4v'), 10, (96, 64))
    for left in range(0, 200, 10):
        writer.write(np.ascontiguousarray(china[100:164, left : left + 96]))
    writer.release()
    return file


def read(out):
    return json.loads((out / 'predictions.json').read_text())


@pytest.mark.parametrize('task', ['resnet', 'deeplab'])
def test_pictures_of_all_kinds_get_labels_and_overlays(task, networks, pictures, tmp_path):
    predictor = Predictor(narrow(task), networks / f'{task}.pth')
    assert infer(predictor, [str(pictures)], tmp_path) == []
    found = read(tmp_path)
    assert found['classes'] == [f'{task} {i}' for i in range(NAMES[task])]
    names = ['china', 'flower', 'more/deep', 'more/glass', 'more/grey']
    assert [r['overlay'] for r in found['results']] == [f'overlays/{n}.png' for n in names]
    for result in found['results']:
        labels = result['labels']
        assert labels[0]['name'] == f'{task} {labels[0]["label"]}'
        key = 'share' if task == 'deeplab' else 'score'
        assert 0 < labels[0][key] <= 1
        assert labels == sorted(labels, key=lambda label: -label[key])
        assert cv2.imread(str(tmp_path / result['overlay'])) is not None
        if task == 'deeplab':
            own = cv2.imread(result['input'])
            label_map = cv2.imread(str(tmp_path / result['label_map']), cv2.IMREAD_UNCHANGED)
            assert label_map.shape == own.shape[:2]
            share = (label_map == labels[0]['label']).mean()
            assert share == pytest.approx(labels[0]['share'])


def test_results_in_the_folder_of_the_pictures_are_no_inputs_and_replace_none(
    networks, tmp_path, pictures
):
    shutil.copy(pictures / 'more/grey.png', tmp_path / 'grey.png')
    before = (tmp_path / 'grey.png').read_bytes()
    predictor = Predictor(narrow('resnet'), networks / 'resnet.pth')
    for _ in range(2):  # the second finds what the first wrote
        assert infer(predictor, [str(tmp_path)], tmp_path) == []
        assert [r['input'] for r in read(tmp_path)['results']] == [str(tmp_path / 'grey.png')]
    overlay = tmp_path / 'overlays/grey.png'
    with pytest.raises(ValueError, match='would overwrite'):
        infer(predictor, [str(overlay)], tmp_path)
    (tmp_path / 'predictions.json').unlink()  # then they are whose they may be
    assert infer(predictor, [str(tmp_path)], tmp_path / 'out') == []
    assert len(read(tmp_path / 'out')['results']) == 2
    assert (tmp_path / 'grey.png').read_bytes() == before


@pytest.mark.parametrize('task', NAMES)
def test_checkpoints_and_programs_of_all_runtimes_give_equal_labels(
    task, networks, pictures, video, tmp_path, monkeypatch
):
    """On real pictures: scikit-learn's, and those of shared/samples where somebody has put them."""
    given = [str(video)] if task == 'i3d' else [str(pictures)]
    # decord gives the last frame of an AVI now so, now so
    more = 'videos/*.mp4' if task == 'i3d' else 'images/*'
    given += map(str, sorted(SAMPLES.glob(more)))
    found = []
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')  # for the .pt2
    for suffix in ('pth', 'frozen.pth', 'onnx', 'xml', 'pt2'):
        if not (networks / f'{task}.{suffix}').is_file():
            continue
        predictor = Predictor(narrow(task), networks / f'{task}.{suffix}')
        assert infer(predictor, given, tmp_path / suffix) == []
        found.append(read(tmp_path / suffix))
    for one, *others in zip(*(f['results'] for f in found), strict=True):
        for other in others:
            assert other['input'] == one['input']
            if task == 'deeplab':
                assert one['labels'][0]['share'] == pytest.approx(
                    other['labels'][0]['share'], abs=1e-3
                )
            else:
                assert other['labels'][0]['label'] == one['labels'][0]['label']
                assert other['labels'][0]['score'] == pytest.approx(
                    one['labels'][0]['score'], abs=1e-4
                )
    assert all(other['classes'] == found[0]['classes'] for other in found[1:])


def test_a_program_of_torch_export_is_loaded_where_it_is_trusted_alone(
    networks, tmp_path, monkeypatch
):
    monkeypatch.delenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', raising=False)
    with pytest.raises(ValueError, match=r'may run code when it is loaded\..*--trust-checkpoint'):
        Predictor(narrow('resnet'), networks / 'resnet.pt2')
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    other = tmp_path / 'other.pt2'
    other.write_bytes((networks / 'resnet.pth').read_bytes())
    with pytest.raises(ValueError, match=r'other\.pt2 is not a program of torch\.export'):
        Predictor(narrow('resnet'), other)


def test_results_do_not_depend_on_the_batch(networks, pictures):
    predictor = Predictor(narrow('deeplab'), networks / 'deeplab.pth')
    images = [cv2.imread(str(path)) for path in sorted(pictures.rglob('*.*'))]
    single = predictor.predict(images, 1)
    for size in (2, 5):
        for one, other in zip(single, predictor.predict(images, size), strict=True):
            assert (one.label_map != other.label_map).mean() < 1e-3
    assert [p.label_map.shape for p in single] == [image.shape[:2] for image in images]


def test_a_network_for_pictures_looks_at_videos_frame_by_frame(networks, video, tmp_path):
    predictor = Predictor(narrow('deeplab'), networks / 'deeplab.pth')
    assert infer(predictor, [str(video)], tmp_path / 'some', frames=5, batch_size=2) == []
    (result,) = read(tmp_path / 'some')['results']
    assert [frame['frame'] for frame in result['frames']] == [0, 5, 10, 14, 19]
    assert result['frames_per_second'] == pytest.approx(2.5)
    assert (tmp_path / 'some' / result['frames'][2]['label_map']).is_file()
    overlay = cv2.VideoCapture(str(tmp_path / 'some' / result['overlay']))
    assert overlay.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    infer(predictor, [str(video)], tmp_path / 'all')
    assert len(read(tmp_path / 'all')['results'][0]['frames']) == 20


@pytest.mark.parametrize('ending', ['limit', 'Ctrl-C'])
def test_a_webcam_is_watched_until_a_limit_or_ctrl_c(
    ending, networks, video, tmp_path, monkeypatch
):
    film = cv2.VideoCapture(str(video))

    class Webcam:
        """A film in the place of a camera, which has no length; the eighth frame is Ctrl-C."""

        def __init__(self, source):
            assert source == 0
            self.isOpened, self.retrieve, self.release = film.isOpened, film.retrieve, film.release
            self.grabbed = 0

        def get(self, what):
            return 0.0

        def grab(self):
            self.grabbed += 1
            if self.grabbed > 7:
                raise KeyboardInterrupt
            return film.grab()

    monkeypatch.setattr(readers.cv2, 'VideoCapture', Webcam)
    predictor = Predictor(narrow('resnet'), networks / 'resnet.pth')
    limit = dict(frames=4) if ending == 'limit' else {}
    assert infer(predictor, ['0'], tmp_path, batch_size=2, **limit) == []
    (result,) = read(tmp_path)['results']
    assert result['kind'] == 'webcam'
    assert [f['frame'] for f in result['frames']] == list(range(4 if limit else 6))


def test_what_cannot_be_read_is_told_and_skipped(networks, pictures, video, tmp_path):
    broken = tmp_path / 'broken'
    broken.mkdir()
    whole = (pictures / 'china.jpg').read_bytes()
    (broken / 'cut.jpg').write_bytes(whole[:4000])
    (broken / 'empty.png').touch()
    (broken / 'text.jpg').write_text('no')
    (broken / 'whole.jpg').write_bytes(whole)
    (broken / 'noise.mp4').write_bytes(bytes(range(256)))
    given = [str(broken), str(broken / 'noise.mp4'), '97']
    predictor = Predictor(narrow('resnet'), networks / 'resnet.pth')
    errors = infer(predictor, given, tmp_path / 'out')
    assert read(tmp_path / 'out')['errors'] == errors
    said = {os.path.basename(error['input']): error['error'] for error in errors}
    assert list(said) == ['cut.jpg', 'empty.png', 'text.jpg', 'noise.mp4', '97']
    assert 'cut short' in said['cut.jpg']
    assert 'is empty' in said['empty.png']
    assert said['text.jpg'] == 'is no picture, whatever its name says'
    assert [r['input'] for r in read(tmp_path / 'out')['results']] == [str(broken / 'whole.jpg')]

    predictor = Predictor(narrow('i3d'), networks / 'i3d.pth')
    given = [str(broken / 'noise.mp4'), str(pictures / 'china.jpg'), str(video)]
    errors = infer(predictor, given, tmp_path / 'clips')
    assert [os.path.basename(error['input']) for error in errors] == ['noise.mp4', 'china.jpg']
    (result,) = read(tmp_path / 'clips')['results']
    assert result['labels'][0]['name'].startswith('i3d ')
    assert cv2.imread(str(tmp_path / 'clips' / result['overlay'])) is not None


def test_a_picture_too_small_for_the_network_is_told_and_the_others_are_done(
    networks, pictures, tmp_path
):
    cv2.imwrite(str(tmp_path / 'dot.png'), np.zeros((1, 1, 3), np.uint8))
    given = [str(pictures / 'china.jpg'), str(tmp_path / 'dot.png'), str(pictures / 'flower.png')]
    predictor = Predictor(narrow('deeplab'), networks / 'deeplab.frozen.pth')
    (error,) = infer(predictor, given, tmp_path / 'out')
    assert error['input'] == given[1]
    assert 'the network fails on it: ' in error['error']
    assert len(read(tmp_path / 'out')['results']) == 2
    predictor = Predictor(narrow('deeplab'), networks / 'deeplab.pth')
    with pytest.warns(UserWarning, match='its ratio goes to the others'):
        assert infer(predictor, given, tmp_path / 'trained') == []


def test_the_command_says_what_was_not_read_and_exits_with_1(
    networks, pictures, tmp_path, monkeypatch, capsys
):
    import runpy

    def call(*arguments):
        options = [f'{key}={value}' for key, value in NARROW['resnet'].items()]
        command = [DEMOS / 'resnet_ssn_digits.py', *arguments, '--cfg-options', *options]
        monkeypatch.setattr(sys, 'argv', ['infer.py', *map(str, command)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / 'tools/infer.py'), run_name='__main__')
        said = capsys.readouterr()
        return left.value.code, said.out + said.err

    monkeypatch.chdir(tmp_path)
    good, bad = pictures / 'china.jpg', tmp_path / 'bad.jpg'
    bad.touch()
    code, said = call(networks / 'resnet.onnx', good)
    assert code == 0, said
    assert 'predictions.json' in said
    code, said = call(networks / 'resnet.pth', good, bad)
    assert (code, f'not read: {bad}: the file is empty' in said) == (1, True), said
    (tmp_path / 'nothing').mkdir()
    for arguments, message in (
        ((networks / 'resnet.pth', 'nowhere.jpg'), "no file or folder 'nowhere.jpg'"),
        ((networks / 'resnet.pth', 'nothing'), "'nothing' holds no pictures"),
        ((networks / 'none.pth', good), 'no checkpoint'),
        ((networks / 'i3d.pth', good), 'is of another network'),
        ((networks / 'resnet.pth', good, '--batch-size', '0'), 'batch_size must be at least 1'),
    ):
        code, said = call(*arguments)
        assert (code, message in said) == (2, True), said


def test_after_an_interrupt_what_was_done_is_there(networks, pictures, tmp_path, monkeypatch):
    predictor = Predictor(narrow('resnet'), networks / 'resnet.pth')
    predict, calls = predictor.predict, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(*arguments)

    monkeypatch.setattr(predictor, 'predict', interrupted)
    with pytest.raises(SystemExit) as left:
        run_tool(lambda: infer(predictor, [str(pictures)], tmp_path, batch_size=2))
    assert left.value.code == 130
    assert len(read(tmp_path)['results']) == 4


def test_the_largest_class_is_painted_in_its_colour_and_names_are_there():
    image = np.full((64, 96, 3), 200, np.uint8)
    label_map = np.zeros((64, 96), np.uint8)
    label_map[:, :48] = 1
    painter = Painter(['one', 'two'], [(255, 0, 0), (0, 0, 255)])
    sheet = painter.paint(image, Prediction(np.array([0.5, 0.5]), label_map))
    assert sheet.shape[0] == 320
    assert sheet.shape[1] > 480
    left, right = sheet[100, 100].astype(int), sheet[100, 400].astype(int)  # BGR
    assert left[0] > left[2] + 50
    assert right[2] > right[0] + 50
    assert (sheet[:, 480:] < 100).all(-1).sum() > 50  # letters


def test_frames_are_evenly_spaced_and_all_are_read_without_a_limit(video):
    assert [number for number, _ in Frames(str(video), 3)] == [0, 10, 19]
    assert len(list(Frames(str(video)))) == 20
    assert Frames(str(video), 100).count == 20
