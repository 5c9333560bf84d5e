"""SSNRadiusHook lets the rows of a converted network go; configs convert networks."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from trainings import last_checkpoint, train

from ssn_mm import SSN, convert_norms
from ssn_mm.engine.hooks import SSNRadiusHook
from ssn_mm.layers import switch_norms


class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.drop = nn.Dropout(0.5)

    def forward(self, inputs, labels, mode='tensor'):
        scores = self.head(self.drop(self.norm(self.conv(inputs)).relu()).mean((2, 3)))
        losses = dict(loss=nn.functional.cross_entropy(scores, labels))
        return losses if mode == 'loss' else [losses['loss']]


def converted():
    return convert_norms(Net())


def hook(**options):
    return SSNRadiusHook(interval=100, **options)


def test_rows_are_let_go_at_the_stated_progress_and_the_jump_is_logged(tmp_path, caplog):
    runner, watch = train(tmp_path, converted, radius=hook(let_go=0.25), iters=12)
    assert watch.selected[2] == ['BN', 'BN']
    ratios = watch.states[3]['norm.ratio_logits']
    assert ((ratios > 0) & (ratios < 1)).all()
    jump = runner.message_hub.get_scalar('train/ssn/let_go_jump')
    assert jump.statistics('current') == pytest.approx(0, abs=0.5)
    assert len(jump._log_history) == 1


def test_measuring_the_jump_changes_nothing_else(tmp_path, monkeypatch):
    _, first = train(tmp_path / 'a', converted, radius=hook(let_go=0.25), iters=6)
    monkeypatch.setattr('ssn_mm.engine.hooks.radius_hook._loss', lambda *_: torch.zeros(()))
    _, second = train(tmp_path / 'b', converted, radius=hook(let_go=0.25), iters=6)
    assert first.losses == second.losses
    for one, other in zip(first.states, second.states, strict=True):
        assert all(one[key].equal(other[key]) for key in one)


@pytest.mark.parametrize('stop', [2, 3, 8])
def test_a_training_that_was_stopped_lets_go_once_as_well(tmp_path, stop):
    options = dict(make=converted, iters=12)
    train(tmp_path / 'whole', radius=hook(let_go=0.25), **options)
    train(tmp_path / 'parts', radius=hook(let_go=0.25), stop=stop, **options)
    train(tmp_path / 'parts', radius=hook(let_go=0.25), resume=True, **options)
    whole, parts = (last_checkpoint(tmp_path / name)['state_dict'] for name in ('whole', 'parts'))
    assert all(whole[key].equal(parts[key]) for key in whole)


def test_a_converted_network_that_is_never_let_go_is_warned_of(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'ssn_mm.engine.hooks.radius_hook.print_log', lambda text, *_: said.append(text)
    )
    train(tmp_path / 'a', converted, radius=hook(), iters=2)
    assert 'let_go=0.1' in said[0]
    train(tmp_path / 'b', converted, radius=hook(let_go=0.25), iters=8)
    assert not any('let_go=0.1' in text for text in said[1:])


def test_rows_of_sn_are_let_go_too(tmp_path):
    def make():
        net = Net()
        net.drop = nn.BatchNorm2d(4)  # an SSN, which the trainings of these tests look at
        return convert_norms(convert_norms(net, 'SN', include='norm'), include='drop')

    runner, _ = train(tmp_path, make, radius=hook(let_go=0.25), iters=8)
    ratios = runner.model.norm.ratios()
    assert ((ratios > 0.01) & (ratios < 0.99)).all()


def test_rows_are_let_go_however_late_that_is(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(SSNRadiusHook, '_let_go', lambda self, runner, _: done.append(runner.iter))
    late = hook(let_go=0.99, schedule=lambda progress: progress**99)
    monkeypatch.setattr('ssn_mm.engine.hooks.radius_hook.sparsestmax', lambda z, _: z)
    train(tmp_path, converted, radius=late, iters=6)
    assert done == [5]


def mixed():
    """K is 2 and 3, and rows of two ratios are one-hot at a smaller radius."""
    net = Net()
    net.drop = nn.GroupNorm(2, 4)
    return convert_norms(net, normalizers=('LN', 'BN'))


@pytest.mark.parametrize(
    ('make', 'options', 'match'),
    [
        (lambda: convert_norms(Net(), start=0.8), {}, r'let_go=0\.25, but no SSN or SN .* a row'),
        (converted, dict(selection='relearn'), r'let_go=0\.25, but no SSN or SN'),
        (
            mixed,
            dict(schedule=lambda p: 0.72 + 0.2 * p),
            r'makes 2 ratios, of which the largest is 0\.9',
        ),
    ],
)
def test_what_would_end_a_training_where_rows_are_let_go_is_refused_before(
    tmp_path, make, options, match
):
    with pytest.raises(ValueError, match=match):
        train(tmp_path, make, radius=hook(let_go=0.25, **options), iters=8)


def test_options_of_letting_go_that_contradict_are_refused():
    with pytest.raises(ValueError, match=r"selection='fix' lets no row go, got let_go=0\.1"):
        hook(let_go=0.1, selection='fix')
    with pytest.raises(ValueError, match=r'ratio must lie inside \(0, 1\), got 1\.5'):
        hook(let_go=0.1, let_go_ratio=1.5)


@pytest.mark.parametrize('let_go', [0, 1, -0.5, 2, 'late'])
def test_letting_go_outside_of_the_training_is_refused(let_go):
    with pytest.raises(ValueError, match=f'let_go must be a progress .* got {let_go!r}'):
        hook(let_go=let_go)


def test_letting_go_where_the_radius_is_too_large_is_refused_before_the_training(tmp_path):
    with pytest.raises(ValueError, match=r'gives the radius 0\.909, which makes 3 ratios'):
        train(tmp_path, converted, radius=hook(let_go=0.85))


@pytest.mark.parametrize('name', ['RepVGG', 'RepMLPNet', 'RepLKNet'])
def test_a_config_converts_networks_that_take_no_norm(name):
    pytest.importorskip('mmpretrain')
    import mmpretrain.models  # noqa: F401

    small = dict(layers=[1, 1, 1, 1], channels=[8, 8, 8, 8], large_kernel_sizes=[5, 5, 5, 5])
    small |= dict(small_kernel=3, dw_ratio=1)
    cfg = dict(
        RepVGG=dict(arch='A0'),
        RepMLPNet=dict(arch='B'),
        RepLKNet=dict(arch=small),
    )
    first = dict(RepVGG='stem', RepMLPNet='patch_embed', RepLKNet='stem')[name]
    options = dict(to='SSN', normalizers=('IN', 'LN', 'BN', 'FBN'), exclude=f'{first}*')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(type=name, **cfg[name], convert_norms=options))
    layers = dict(switch_norms(model))
    assert layers
    assert all(type(layer) is SSN for layer in layers.values())
    assert all(layer.selected == ('BN', 'BN') for layer in layers.values())
    assert not any(key.startswith(first) for key in layers)


def test_a_part_of_a_segmentor_is_converted_and_takes_a_checkpoint_of_batch_norm():
    pytest.importorskip('mmseg')
    import mmseg.models  # noqa: F401

    norm_cfg = dict(type='BN')
    cfg = dict(
        type='EncoderDecoder',
        backbone=dict(
            type='ResNetV1c', depth=18, base_channels=8, stem_channels=8, norm_cfg=norm_cfg
        ),
        decode_head=dict(
            type='FCNHead', in_channels=64, channels=8, num_classes=3, norm_cfg=norm_cfg
        ),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        plain = MODELS.build(cfg)
        cfg['backbone']['convert_norms'] = dict(start=0.7)
        model = MODELS.build(cfg)
    assert all(name.startswith('backbone') for name, _ in switch_norms(model))
    with torch.no_grad():
        for module in plain.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
    with pytest.warns(UserWarning, match='it is of another norm'):
        model.load_state_dict(plain.state_dict(), strict=False)
    layer = model.backbone.layer1[0].bn1
    assert layer.running_mean.equal(plain.backbone.layer1[0].bn1.running_mean)
    assert layer.ratios()[0, 2].item() == pytest.approx(0.7)


def test_what_convert_norms_says_in_a_config_is_checked():
    with pytest.raises(
        TypeError, match=r'convert_norms must be a dict of its arguments, got \'SSN\''
    ):
        MODELS.build(dict(type='SSN', num_features=4, convert_norms='SSN'))
    with pytest.raises(TypeError, match='knows no norms'):
        MODELS.build(dict(type='mmengine.BaseDataPreprocessor', convert_norms=dict(norms=1)))
    built = MODELS.build(dict(type='SSN', num_features=4, convert_norms=None))  # as others inherit
    assert type(built) is SSN
