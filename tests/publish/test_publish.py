import hashlib
import json
import os
import re
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.model import BaseModule, ExponentialMovingAverage
from mmengine.runner import CheckpointLoader
from torch import nn

from ssn_mm import SN, SSN, keep_selected, set_radius
from ssn_mm.layers import ssn_layers
from ssn_mm.publish.configs import build_network, parse_config, plain_config
from ssn_mm.publish.publish import metrics_of, publish
from ssn_mm.weights.files import check_checkpoint

DEMO = Path(__file__).parents[2] / 'configs/demo/resnet_ssn_digits.py'
NASTY = '<script>alert(1)</script> | [a](http://b) `c` *d*\n# e: &f'


@pytest.fixture(scope='module')
def cfg():
    return Config.fromfile(DEMO)


@pytest.fixture(scope='module')
def model(cfg):
    """A network whose first layer has selected."""
    torch.manual_seed(0)
    model = build_network(cfg)
    (_, first), *_ = ssn_layers(model)
    first.ratio_logits.data.copy_(torch.tensor([[1.0, 0, 0], [0, 0, 1]]))
    return model


@pytest.fixture
def checkpoint(tmp_path, cfg, model):
    """As a training writes it, after ten iterations."""
    folder = tmp_path / 'work_dirs/resnet_ssn_digits'
    folder.mkdir(parents=True)
    content = dict(
        meta=dict(
            epoch=5,
            iter=10,
            cfg=cfg.pretty_text,
            seed=3,
            dataset_meta=dict(classes=('zero', NASTY)),
        ),
        state_dict=model.state_dict(),
        optimizer=dict(state={0: torch.zeros(3)}),
        param_schedulers=[dict(last_step=3)],
        message_hub=dict(log_scalars={}),
        accumulated_gradients=dict(a=torch.ones(2)),
    )
    torch.save(content, folder / 'epoch_5.pth')
    return folder / 'epoch_5.pth'


def weights_of(folder):
    (file,) = (f for f in folder.iterdir() if f.suffix in ('.pth', '.safetensors'))
    return file


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize('file_format', ['pth', 'safetensors'])
def test_weights_and_what_loading_needs_are_all_that_is_published(
    tmp_path, checkpoint, model, file_format
):
    if file_format == 'safetensors':
        pytest.importorskip('safetensors')
    file = weights_of(publish(checkpoint, out=tmp_path / 'out', file_format=file_format))
    content = CheckpointLoader.load_checkpoint(str(file), 'cpu')
    assert content.keys() == {'state_dict', 'meta'}
    classes = dict(classes=['zero', NASTY])
    assert content['meta'] == dict(epoch=5, iter=10, dataset_meta=classes)
    assert same(content['state_dict'], model.state_dict())
    if file_format == 'pth':
        assert torch.load(file, weights_only=True)['meta'] == content['meta']
    assert (
        not {'work_dir', 'load_from'}
        & json.loads((tmp_path / 'out/config.json').read_text()).keys()
    )


def test_the_name_has_the_files_hash_and_loading_refuses_another_file(tmp_path, checkpoint):
    file = weights_of(publish(checkpoint, out=tmp_path / 'out'))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.name == f'resnet_ssn_digits-{digest[:8]}.pth'
    check_checkpoint(file)
    file.write_bytes(checkpoint.read_bytes())  # intact, and not what was published
    with pytest.raises(ValueError, match=rf'{file.name} is damaged'):
        check_checkpoint(file)


def test_a_date_in_a_name_is_no_hash(tmp_path):
    torch.save({}, tmp_path / 'resnet-20261127.pth')
    check_checkpoint(tmp_path / 'resnet-20261127.pth')


def test_of_a_training_with_ema_the_averaged_weights_are_published(tmp_path, checkpoint, model):
    stored, hook = torch.load(checkpoint), EMAHook()
    hook.ema_model = ExponentialMovingAverage(model)
    with torch.no_grad():
        for param in hook.ema_model.module.parameters():
            param.add_(1)
    averaged = {k: v.clone() for k, v in hook.ema_model.module.state_dict().items()}
    hook.before_save_checkpoint(None, stored)
    torch.save(stored, checkpoint)
    file = weights_of(publish(checkpoint, out=tmp_path / 'out'))
    published = torch.load(file)['state_dict']
    assert same(published, averaged)
    assert not same(published, model.state_dict())


def test_the_card_tells_the_selection_and_metrics_and_nothing_in_it_is_markup(
    tmp_path, checkpoint, cfg, model
):
    folder = publish(checkpoint, cfg, tmp_path / 'out', metrics={NASTY: 97.5, 'top-1': 3})
    card = (folder / 'README.md').read_text()
    _, front, body = card.split('---\n', 2)
    (entry,) = yaml.safe_load(front)['model-index']
    assert entry['results'][0]['metrics'][0] == dict(type=NASTY, name=NASTY, value=97.5)
    assert '<script' not in body
    assert '[a](' not in body
    assert r'\[a\]\(http\://b\) \`c\` \*d\* \# e\: &amp;f | 97.5 |' in body
    layers = len(list(ssn_layers(model)))
    assert body.count('| SSN | ') == layers
    assert '| backbone.bn1 | SSN | IN | BN |' in body
    assert 'have selected: IN 1, LN 0, BN 1.' in body
    assert re.search(r'^  backbone +means I +variances B$', body, re.MULTILINE)
    assert 'config.json' in body
    (metafile,) = yaml.safe_load((folder / 'metafile.yml').read_text())['Models']
    assert metafile['Weights'] == weights_of(folder).name
    assert metafile['Results'][0]['Metrics'] == {NASTY: 97.5, 'top-1': 3}
    assert metafile['Metadata']['Normalizer'] == 'SSN'


def test_metrics_are_those_of_the_validation_just_after_the_checkpoint(tmp_path, checkpoint):
    logs = checkpoint.parent / '20261127_000000/vis_data'
    logs.mkdir(parents=True)
    lines = [
        {'loss': 1.0, 'epoch': 5, 'iter': 5, 'step': 5},
        {'accuracy/top1': 50.0, 'data_time': 0.1, 'time': 0.1, 'step': 4},
        {'accuracy/top1': 60.0, 'data_time': 0.1, 'time': 0.1, 'step': 5},
        {'accuracy/top1': 70.0, 'data_time': 0.1, 'time': 0.1, 'step': 6},
    ]
    text = '\n'.join(map(json.dumps, lines)) + '\n{"cut sh'
    (logs / 'scalars.json').write_text(text)
    folder = publish(checkpoint, out=tmp_path / 'out')
    (metafile,) = yaml.safe_load((folder / 'metafile.yml').read_text())['Models']
    assert metafile['Results'][0]['Metrics'] == {'accuracy/top1': 60.0}
    other = checkpoint.rename(checkpoint.with_suffix('.recalibrated.pth'))
    folder = publish(other, out=tmp_path / 'other')
    (metafile,) = yaml.safe_load((folder / 'metafile.yml').read_text())['Models']
    assert metafile['Results'] is None


@pytest.mark.parametrize(
    ('name', 'logged', 'found'),
    [
        ('epoch_2', 'epoch', 61.0),
        ('iter_20', 'iter', 62.0),
        ('epoch_3', 'epoch', None),
        ('iter_20', 'epoch', None),  # such a number of epochs is another validation's
        ('epoch_2', 'iter', None),
    ],
)
def test_a_number_of_iterations_is_not_taken_for_one_of_epochs(tmp_path, name, logged, found):
    logs = tmp_path / '20261127_000000/vis_data'
    logs.mkdir(parents=True)
    lines = [{'loss': 1.0, 'iter': 10, 'step': 10} | ({'epoch': 1} if logged == 'epoch' else {})]
    lines += [{'accuracy/top1': v, 'step': step} for step, v in ((2, 61.0), (20, 62.0))]
    (logs / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))
    metrics = metrics_of(tmp_path / f'{name}.pth')
    assert metrics == ({} if found is None else {'accuracy/top1': found})


def test_paths_of_the_authors_machine_stay_behind():
    relative = dict(data_root='data/ade', pretrained='torchvision://resnet50', scale=(1, 2))
    absolute = dict(
        a='/home/me/start.pth', b=['~/data/ade/', 'C:\\Users\\me\\x.pth', 'file:///home/me/y.pth'],
        init_cfg=dict(type='Pretrained', checkpoint='/home/me/start.pth'),
    )  # fmt: skip
    plain = plain_config(Config(dict(relative=relative, absolute=absolute)))
    assert plain['relative'] == relative | dict(scale=[1, 2])
    assert plain['absolute'] == dict(
        a='start.pth', b=['ade', 'x.pth', 'y.pth'],
        init_cfg=dict(type='Pretrained', checkpoint='start.pth'),
    )  # fmt: skip


def test_an_existing_folder_is_replaced_with_force_alone(tmp_path, checkpoint):
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'mine').touch()
    with pytest.raises(ValueError, match='out exists; name another folder, or replace'):
        publish(checkpoint, out=out)
    assert [f.name for f in out.iterdir()] == ['mine']
    publish(checkpoint, out=out, force=True)
    assert not (out / 'mine').exists()
    assert len(list(out.iterdir())) == 4


def test_publishing_into_the_work_dir_does_not_delete_what_it_reads(tmp_path, checkpoint):
    before = Path(checkpoint).read_bytes()
    with pytest.raises(ValueError, match=r'would delete .*, which is in use'):
        publish(checkpoint, out=Path(checkpoint).parent, force=True)
    assert Path(checkpoint).read_bytes() == before


@pytest.mark.parametrize('step', ['fsync', 'rename'])
@pytest.mark.parametrize('there', [False, True])
def test_an_interrupt_leaves_no_half_folder(tmp_path, checkpoint, monkeypatch, step, there):
    out = tmp_path / 'out'
    if there:
        out.mkdir()
        (out / 'mine').touch()
    before = sorted(tmp_path.rglob('*'))
    rename, calls = os.rename, []

    def interrupt(*args):
        calls.append(args)
        if step == 'fsync' or len(calls) == 1 + there:  # once the old folder is out of the way
            raise KeyboardInterrupt
        rename(*args)

    monkeypatch.setattr(os, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        publish(checkpoint, out=out, force=True)
    assert calls
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(cfg='import os\nos.mkdir("ran")'), 'line 1 is no assignment'),
        (dict(cfg='model = __import__("os").mkdir("ran")'), 'give --config: malformed node'),
        (dict(cfg='model = dict(type="os.mkdir", path="ran")'), "type='os.mkdir', which could"),
        (dict(cfg='custom_imports = dict(imports=["this"])\nmodel = {}'), "imports 'this'"),
        (dict(cfg=None), 'holds no config'),
        (dict(frozen={}), 'is of a frozen network; publish what it was frozen from'),
        (dict(dataset_meta=dict(a=torch.ones(1))), 'dataset_meta is no plain data'),
    ],
)
def test_what_a_checkpoint_says_is_never_run(tmp_path, checkpoint, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    stored = torch.load(checkpoint)
    stored['meta'] |= change
    torch.save(stored, checkpoint)
    with pytest.raises(ValueError, match=message):
        publish(checkpoint, out='out')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['work_dirs']


def test_weights_of_another_network_and_other_formats_are_refused(tmp_path, checkpoint):
    other = Config.fromfile(DEMO.with_name('resnet_bn_digits.py'))
    with pytest.raises(ValueError, match=r'epoch_5\.pth is of another network: [^.]*backbone'):
        publish(checkpoint, other, tmp_path / 'out')
    with pytest.raises(ValueError, match="got 'onnx'"):
        publish(checkpoint, file_format='onnx')
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('path', sorted(DEMO.parent.glob('[!_]*_ssn_*.py')), ids=lambda p: p.stem)
def test_what_a_training_notes_of_its_config_is_read_as_data(path):
    cfg = Config.fromfile(path)
    read = parse_config(cfg.pretty_text).to_dict()
    assert json.dumps(read, sort_keys=True) == json.dumps(cfg.to_dict(), sort_keys=True)


class Small(BaseModule):
    """A network of two SSN layers."""

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.conv, self.first, self.second = nn.Conv2d(3, 4, 3), SSN(4), SN(4)


def test_safetensors_are_read_wherever_a_checkpoint_is(tmp_path):
    pytest.importorskip('safetensors')
    from ssn_mm.weights.safetensors import to_safetensors

    source, file = Small(), tmp_path / 'small.safetensors'
    set_radius(source, 0.9)
    source.first.ratio_logits.data[0, 1] += 0.1
    keep_selected(source)
    file.write_bytes(to_safetensors(source.state_dict(), {}))
    model = Small(init_cfg=dict(type='Pretrained', checkpoint=str(file)))
    model.init_weights()
    assert same(model.state_dict(), source.state_dict())
    assert model.first.selected == ('LN', 'IN')
    content = file.read_bytes()
    for damaged in (content[:-5], content[:7], b'\xff' * 20):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r'small\.safetensors is damaged'):
            CheckpointLoader.load_checkpoint(str(file))


def test_metadata_that_is_no_object_is_refused(tmp_path):
    safetensors = pytest.importorskip('safetensors.torch')
    file = tmp_path / 'small.safetensors'
    safetensors.save_file({'a': torch.ones(1)}, file, dict(meta='[1]'))
    with pytest.raises(ValueError, match=r"the metadata's 'meta' is a JSON object, got \[1\]"):
        CheckpointLoader.load_checkpoint(str(file))
