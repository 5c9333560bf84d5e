"""convert_norms gives any network each contestant by its name."""

import pytest
import torch
from torch import nn

from ssn_mm import SSN, convert_norms, plan_conversion
from ssn_mm.contestants import arrange, contestants
from ssn_mm.contestants.norms.evo_norm import EvoNormS0
from ssn_mm.contestants.norms.filter_response_norm import FRN

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
OTHERS = [name for name, own in contestants().items() if name not in ('BN', 'SN', 'SSN')]
ARRANGING = [name for name in OTHERS if contestants()[name].neighbours]


def network(rank=2):
    """A trained network, its ε not the usual one."""
    torch.manual_seed(0)
    conv, norm = ((nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))[rank - 2]
    model = nn.Sequential(
        conv(3, 8, 3), norm(8, eps=1e-3), nn.ReLU(), conv(8, 8, 3), norm(8), nn.ReLU()
    )
    with torch.no_grad():
        for name, t in [*model.named_parameters(), *model.named_buffers()]:
            if t.is_floating_point() and 'var' not in name:
                t.add_(torch.rand_like(t))
    return model.eval()


@pytest.mark.parametrize('rank', [2, 3])
@pytest.mark.parametrize('name', OTHERS)
def test_every_contestant_takes_the_place_of_batch_norm_and_trains(name, rank):
    model = network(rank)
    weight = model[1].weight
    convert_norms(model, name, num_groups=4)
    contestant = contestants()[name]
    assert type(model[1]) is contestant.layers[rank - 2]
    assert model[1].weight is weight
    model.train()(torch.randn(2, 3, *[8] * rank)).square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_frozen_batch_norm_keeps_outputs_goes_back_and_needs_statistics():
    model = network()
    expected = model(X)
    convert_norms(model, 'FrozenBN')
    torch.testing.assert_close(model.train()(X), expected)
    with pytest.raises(ValueError, match=r'none of the 2 norms .*: it is FrozenBN already'):
        convert_norms(model, 'FrozenBN')
    convert_norms(model)
    assert model[1].selected == ('FBN', 'FBN')
    assert isinstance(model[1], SSN)
    torch.testing.assert_close(model(X), expected)
    with pytest.raises(ValueError, match='FrozenBN needs running statistics'):
        convert_norms(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), 'FrozenBN')


@pytest.mark.parametrize('name', ARRANGING)
def test_the_table_says_what_remains_to_be_done_to_neighbours_and_arrange_does_it(name):
    model = network()
    plan = plan_conversion(model, name, num_groups=4)
    assert str(plan).count('ssn_mm.contestants.arrange(model, images) sees to') == 2
    plan.apply(model)
    done = arrange(model, X)
    assert len(done.standardized) == (2 if name == 'GN+WS' else 0)
    assert len(done.spared) == (0 if name == 'GN+WS' else 2)
    assert isinstance(model[1], contestants()[name].layers)
    assert model(X).isfinite().all()


def test_epsilon_is_that_of_the_norm_unless_a_paper_has_its_own():
    assert convert_norms(network(), 'EvoNorm-S0', num_groups=4)[1].eps == 1e-3
    assert convert_norms(network(), 'FRN+TLU')[1].eps == 1e-6


def test_groups_are_those_of_a_group_norm_that_was_there():
    model = convert_norms(nn.Sequential(nn.Conv2d(3, 8, 1), nn.GroupNorm(2, 8)), 'EvoNorm-S0')
    assert isinstance(model[1], EvoNormS0)
    assert model[1].num_groups == 2


def test_what_a_contestant_cannot_serve_is_refused_by_name():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.BatchNorm1d(8))
    with pytest.raises(ValueError, match=r'2 \(BatchNorm1d\): FRN\+TLU takes maps'):
        convert_norms(model, 'FRN+TLU')
    with pytest.raises(ValueError, match=r'1 \(BatchNorm2d\): GN\+WS cannot serve 8 channels'):
        convert_norms(model, 'GN+WS', exclude='2')
    convert_norms(model, 'FRN+TLU', exclude='2')
    assert isinstance(model[1], FRN)
    with pytest.raises(ValueError, match=r'1 \(FRN\): it is no norm that SSN has'):
        convert_norms(model)
    with pytest.raises(ValueError, match=r"to='frn' is no norm.*did you mean 'FRN\+TLU'\?"):
        convert_norms(model, 'frn')
    with pytest.raises(TypeError, match=r'knows no correction for FRN\+TLU'):
        convert_norms(model, 'FRN+TLU', correction=1)


def test_a_config_converts_to_a_contestant_and_arranges_the_network():
    pytest.importorskip('mmseg')
    import mmseg.models  # noqa: F401
    from mmengine.registry import MODELS, DefaultScope

    cfg = dict(
        type='EncoderDecoder',
        backbone=dict(
            type='ResNetV1c', depth=18, base_channels=8, stem_channels=8, norm_cfg=dict(type='BN')
        ),
        decode_head=dict(
            type='FCNHead', in_channels=64, channels=8, num_classes=3, norm_cfg=dict(type='BN')
        ),
        convert_norms=dict(to='FRN+TLU', include='backbone.*'),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg)
    block = model.backbone.layer1[0]
    assert isinstance(block.bn1, FRN)
    assert block.bn1.tau is not None
    assert type(block.relu).__name__ == 'Sparing'
    assert type(model.decode_head.convs[0].norm) is nn.BatchNorm2d
