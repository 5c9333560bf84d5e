from functools import partial

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from ssn_mm import SN, SSN


def network(norm=SSN):
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm(8), nn.ReLU(), nn.Conv2d(8, 4, 3), norm(4))


def build(model, paramwise=None, **wrapper):
    cfg = dict(
        type='OptimWrapper',
        constructor='SSNOptimWrapperConstructor',
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4),
        paramwise_cfg=paramwise,
    )
    return build_optim_wrapper(model, cfg | wrapper)


def options(model, wrapper):
    """Learning rate and decay of each parameter, by name."""
    names = {id(param): name for name, param in model.named_parameters()}
    return {
        names[id(param)]: (pytest.approx(group['lr']), pytest.approx(group['weight_decay']))
        for group in wrapper.optimizer.param_groups
        for param in group['params']
    }


def test_ssns_ratio_logits_get_a_tenth_of_the_rate_and_no_decay():
    model = network()
    wrapper = build(model)
    found = options(model, wrapper)
    assert len(found) == len(list(model.parameters()))
    for name, (lr, decay) in found.items():
        assert (lr, decay) == ((0.01, 0) if 'ratio_logits' in name else (0.1, 1e-4)), name
    assert len(wrapper.optimizer.param_groups) == 2


@pytest.mark.parametrize('selector', [None, 'softmax', 'sparsemax', 'gumbel', 'softmax+entropy'])
def test_ratio_logits_of_sn_and_of_other_selectors_are_as_any_other_parameter(selector):
    model = network(SN if selector is None else partial(SSN, selector=selector))
    wrapper = build(model, clip_grad=dict(max_norm=5.0))
    assert all(own == (0.1, 1e-4) for own in options(model, wrapper).values())
    assert len(wrapper.optimizer.param_groups) == 1
    without = options(model, build(model, dict(norm_decay_mult=0.0)))
    assert without['1.ratio_logits'] == without['1.weight'] == (0.1, 0)
    fill_gradients(model, 100.0)
    wrapper.step()  # one norm, of all gradients
    total = sum(p.grad.square().sum() for p in model.parameters()).sqrt()
    assert total.item() == pytest.approx(5.0, rel=1e-4)
    assert model[1].ratio_logits.grad.unique().numel() == 1
    assert model[1].ratio_logits.grad[0, 0] == model[0].weight.grad.flatten()[0]


def test_rules_that_are_given_hold_for_sn_and_ssn():
    model = nn.Sequential(network(SN), network(SSN))
    rules = dict(ratio_lr_mult=0.5, ratio_decay_mult=2.0, ratio_max_norm=3.0)
    wrapper = build(model, rules)
    found = options(model, wrapper)
    for name in ('0.1.ratio_logits', '1.4.ratio_logits'):
        assert found[name] == (0.05, 2e-4)
    fill_gradients(model, 100.0)
    wrapper.step()
    logits = [p.grad for name, p in model.named_parameters() if 'ratio' in name]
    assert torch.cat([grad.flatten() for grad in logits]).norm().item() == pytest.approx(3.0)
    assert model[0][0].weight.grad.flatten()[0] == 100


def test_a_network_of_both_has_the_rules_of_each():
    model = nn.Sequential(network(SN), network(SSN))
    wrapper = build(model)
    found = options(model, wrapper)
    assert found['0.1.ratio_logits'] == (0.1, 1e-4)
    assert found['1.1.ratio_logits'] == (0.01, 0)
    fill_gradients(model, 100.0)
    wrapper.step()
    assert model[0][1].ratio_logits.grad[0, 0] == 100
    assert model[1][1].ratio_logits.grad[0, 0] < 1


def test_norm_rules_of_the_default_constructor_reach_ssn():
    model = network()
    found = options(model, build(model, dict(norm_decay_mult=0.0, bias_lr_mult=2.0)))
    assert found['1.weight'] == (0.1, 0)
    assert found['1.bias'] == (0.1, 0)  # as for nn.BatchNorm2d, whose bias is no plain bias
    assert found['0.bias'] == (0.2, 1e-4)
    assert found['1.ratio_logits'] == (0.01, 0)


def test_custom_keys_and_the_ratio_multiplier_multiply():
    model = network()
    paramwise = dict(custom_keys={'1.': dict(lr_mult=10, decay_mult=5)}, ratio_lr_mult=0.5)
    found = options(model, build(model, paramwise))
    assert found['1.weight'] == (1.0, 5e-4)
    assert found['1.ratio_logits'] == (0.5, 0)
    assert found['4.ratio_logits'] == (0.05, 0)


def test_other_options_are_the_default_constructors():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4), nn.Linear(4, 4))
    paramwise = dict(norm_decay_mult=0.0, bias_decay_mult=0.5, dwconv_decay_mult=0.1)
    ours = options(model, build(model, paramwise))
    default = build(model, paramwise, constructor='DefaultOptimWrapperConstructor')
    assert ours == options(model, default)


def fill_gradients(model, value):
    for param in model.parameters():
        param.grad = torch.full_like(param, value)


def test_ratio_logits_are_clipped_on_their_own():
    model = network()
    wrapper = build(model, clip_grad=dict(max_norm=5.0))
    fill_gradients(model, 100.0)
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    wrapper.step()
    moved = {name: before[name] - p.detach() for name, p in model.named_parameters()}
    logits = torch.cat([m.flatten() for name, m in moved.items() if 'ratio' in name])
    others = torch.cat(
        [(m - 0.1e-4 * before[name]).flatten() for name, m in moved.items() if 'ratio' not in name]
    )
    assert logits.norm().item() == pytest.approx(0.01 * 1.0, rel=1e-4)
    assert others.norm().item() == pytest.approx(0.1 * 5.0, rel=1e-3)


def test_small_gradients_are_left_alone_and_clipping_can_be_off():
    for paramwise, value in ((None, 0.01), (dict(ratio_max_norm=None), 100.0)):
        model = network()
        wrapper = build(model, paramwise)
        fill_gradients(model, value)
        wrapper.step()
        torch.testing.assert_close(model[1].ratio_logits.data, torch.full((2, 3), 1 - 0.01 * value))


def test_scaled_gradients_are_clipped_after_unscaling():
    model = network()
    wrapper = build(model)
    scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
    scaler.scale(sum(100 * p.sum() for p in model.parameters())).backward()
    scaler.step(wrapper.optimizer)
    logits = torch.cat([m.ratio_logits.detach().flatten() for m in (model[1], model[4])])
    assert (logits - 1).norm().item() == pytest.approx(0.01, rel=1e-4)


def tsn(norm):
    with DefaultScope.overwrite_default_scope('mmaction'):
        return MODELS.build(
            dict(
                type='Recognizer2D',
                backbone=dict(type='ResNetTSM', depth=18, pretrained2d=False, norm_cfg=norm),
                cls_head=dict(type='TSMHead', num_classes=4, in_channels=512),
            )
        )


def tsm_options(model, paramwise, **wrapper):
    with DefaultScope.overwrite_default_scope('mmaction'):
        return options(model, build(model, paramwise, **wrapper))


TSM = 'TSMOptimWrapperConstructor'


@pytest.mark.mmaction
@pytest.mark.parametrize('fc_lr5', [True, False])
@pytest.mark.parametrize('norm', ['SSN', 'SN'])
def test_tsms_groups_are_those_of_a_batch_norm_network_beside_the_ratio_logits(norm, fc_lr5):
    plain = tsm_options(tsn(dict(type='BN')), dict(fc_lr5=fc_lr5), constructor=TSM)
    model = tsn(dict(type=norm))
    ours = tsm_options(model, dict(base=TSM, fc_lr5=fc_lr5))
    assert plain['cls_head.fc_cls.weight'] == ((0.5, 1e-4) if fc_lr5 else (0.1, 1e-4))
    assert plain['cls_head.fc_cls.bias'] == ((1.0, 0) if fc_lr5 else (0.2, 0))
    ratios = {name: ours.pop(name) for name in list(ours) if 'ratio_logits' in name}
    assert ours == plain
    assert list(ratios.values()) == [(0.01 if norm == 'SSN' else 0.1, 0)] * 20


def test_fc_lr5_without_tsms_constructor_is_refused():
    with pytest.raises(ValueError, match=f"fc_lr5=True.* add base='{TSM}'"):
        build(network(), dict(fc_lr5=True))


@pytest.mark.mmaction
def test_tsms_own_constructor_refuses_ssn():
    with pytest.raises(ValueError, match=r'New atomic module type: .*SSN'):
        tsm_options(tsn(dict(type='SSN')), dict(fc_lr5=True), constructor=TSM)


def test_layer_wise_decay_reaches_ratio_logits_through_their_layer():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(
            dict(
                type='ImageClassifier',
                backbone=dict(type='ResNet', depth=50, norm_cfg=dict(type='SSN')),
                head=dict(type='LinearClsHead', num_classes=4, in_channels=2048),
            )
        )
        base = 'LearningRateDecayOptimWrapperConstructor'
        paramwise = dict(base=base, layer_decay_rate=0.5, norm_decay_mult=0.0)
        found = options(model, build(model, paramwise))
    first, last = found['backbone.bn1.weight'][0], found['backbone.layer4.2.bn3.weight'][0]
    assert first.expected < last.expected
    for name, lr in (('backbone.bn1', first), ('backbone.layer4.2.bn3', last)):
        assert found[f'{name}.weight'] == found[f'{name}.bias'] == (lr.expected, 0)
        assert found[f'{name}.ratio_logits'] == (lr.expected / 10, 0)


def test_layers_are_ssn_again_when_a_constructor_raises():
    model = network()
    with pytest.raises(KeyError):
        build(model, dict(base=TSM))  # which asks for fc_lr5
    assert type(model[1]) is SSN


@pytest.mark.parametrize(
    'paramwise', [dict(ratio_lr_mult=0), dict(ratio_decay_mult=-2), dict(ratio_max_norm=-1)]
)
def test_options_that_are_no_positive_number_are_refused(paramwise):
    with pytest.raises(ValueError, match=f'got {next(iter(paramwise.values()))}'):
        build(network(), paramwise)


def test_a_layer_that_is_released_during_training_trains_as_under_the_default_constructor():
    for constructor in ('SSNOptimWrapperConstructor', 'DefaultOptimWrapperConstructor'):
        model = network()
        model[1].requires_grad_(False)
        wrapper = build(model, constructor=constructor)
        model[1].requires_grad_(True)
        before = model[1].weight.clone()
        wrapper.update_params(model(torch.randn(2, 3, 8, 8)).square().sum())
        assert not torch.equal(model[1].weight, before)
