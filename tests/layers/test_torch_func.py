"""SSN, SN and MixedNorm under ``torch.func``, forward-mode and batched differentiation."""

import copy

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.autograd.functional import jacobian
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, stack_module_state, vmap

from ssn_mm import SN, SSN, keep_selected, set_radius
from ssn_mm.layers import MixedNorm

X = torch.randn(3, 4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def competing(**options):
    torch.manual_seed(0)
    layer = SSN(4, ('IN', 'LN', 'BN', 'GN'), num_groups=2, **options)
    set_radius(layer, 0.3)
    nn.init.normal_(layer.ratio_logits)
    return layer


def selected():
    layer = SSN(4)
    with torch.no_grad():
        layer.ratio_logits.copy_(torch.eye(3)[[2, 1]])
    return layer


LAYERS = {
    'competing': competing,
    'selected': selected,
    'SN': lambda: SN(4),
    'MixedNorm': lambda: MixedNorm(4, 'BN', 'LN'),
    'MixedNorm of three': lambda: MixedNorm(4, 'IN', ('LN', 'GN'), num_groups=2),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    layer = LAYERS[request.param]().double()
    for value in (layer.weight, layer.running_var):
        value.data.uniform_(0.5, 2)
    return layer.eval()


def loss(y):
    return y.pow(3).sum()


def test_vmap_in_evaluation_equals_a_loop(layer):
    torch.testing.assert_close(vmap(lambda x: layer(x[None])[0])(X), layer(X))


def test_jacobians_in_evaluation_equal_those_of_autograd(layer):
    x = X[:2, :, :2, :1]
    expected = jacobian(layer, x)
    torch.testing.assert_close(jacrev(layer)(x), expected)
    torch.testing.assert_close(jacfwd(layer)(x), expected)
    torch.testing.assert_close(jacobian(layer, x, vectorize=True), expected)
    given = x.clone().requires_grad_()
    loss(layer(given)).backward()
    torch.testing.assert_close(grad(lambda x: loss(layer(x)))(x), given.grad)
    _, tangent = jvp(layer, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, expected.sum((4, 5, 6, 7)))
    with forward_ad.dual_level():
        dual = layer(forward_ad.make_dual(x, torch.ones_like(x)))
        torch.testing.assert_close(forward_ad.unpack_dual(dual).tangent, tangent)


def test_transforms_may_be_compiled():
    layer = competing().double().eval()

    def each(x):
        return vmap(lambda x: layer(x[None])[0])(x)

    def slope(x):
        return grad(lambda x: loss(layer(x)))(x)

    for function in (each, slope):
        compiled = torch.compile(function, backend='aot_eager')
        torch.testing.assert_close(compiled(X), function(X))


def test_gradients_of_each_sample_equal_those_of_a_loop(layer):
    params = {name: p.detach() for name, p in layer.named_parameters()}

    def sample_loss(params, x):
        return loss(functional_call(layer, params, (x[None],)))

    each = vmap(grad(sample_loss), (None, 0))(params, X)
    for index, x in enumerate(X):
        layer.zero_grad()
        loss(layer(x[None])).backward()
        for name, p in layer.named_parameters():
            expected = torch.zeros_like(p) if p.grad is None else p.grad
            torch.testing.assert_close(each[name][index], expected)


def test_an_ensemble_equals_its_members(layer):
    members = [copy.deepcopy(layer) for _ in range(3)]
    for member in members:
        for p in member.parameters():
            p.data.add_(torch.randn_like(p) / 10)
    together = vmap(lambda params, buffers: functional_call(layer, (params, buffers), (X,)))
    y = together(*stack_module_state(members))
    torch.testing.assert_close(y, torch.stack([member(X) for member in members]))


@pytest.mark.parametrize('build', [competing, lambda: SN(4)])
def test_many_gradients_at_once_equal_one_after_the_other_in_training(build):
    layer = build().double()
    x = X.clone().requires_grad_()
    y = layer(x)
    dy = torch.randn(2, *y.shape, dtype=y.dtype)
    inputs = (x, *layer.parameters())
    once = torch.autograd.grad(y, inputs, dy, retain_graph=True, is_grads_batched=True)
    each = [torch.autograd.grad(y, inputs, part, retain_graph=True) for part in dy]
    torch.testing.assert_close(once, tuple(torch.stack(parts) for parts in zip(*each, strict=True)))


def test_training_under_vmap_asks_for_statistics_that_are_not_shared():
    layer = competing().double()
    with pytest.raises(RuntimeError, match=r'running statistics .* track_running_stats=False'):
        vmap(lambda x: layer(x[None])[0])(X)
    assert layer.num_batches_tracked == 0
    free = competing(track_running_stats=False).double()
    expected = torch.cat([free(x[None]) for x in X])
    torch.testing.assert_close(vmap(lambda x: free(x[None])[0])(X), expected)
    torch.testing.assert_close(jacrev(free)(X[:1]), jacobian(free, X[:1]))
    members = [competing().double() for _ in range(2)]
    params, buffers = stack_module_state([copy.deepcopy(m) for m in members])
    vmap(lambda p, b, x: functional_call(layer, (p, b), (x,)))(
        params, buffers, torch.stack([X, -X])
    )
    members[0](X), members[1](-X)
    for index, member in enumerate(members):
        torch.testing.assert_close(buffers['running_var'][index], member.running_var)


def test_a_transform_leaves_nothing_behind_that_training_would_stumble_over():
    layer = competing().double()
    set_radius(layer, 1)
    layer(X)
    names, expected = layer.selected, layer.ratios()
    layer.eval()
    jacrev(lambda z: functional_call(layer, {'ratio_logits': z}, (X,)))(layer.ratio_logits.detach())
    layer.ratio_logits.data += 5 * torch.randn(2, 4)
    keep_selected(layer)
    assert layer.selected == names
    assert torch.equal(layer.ratio_logits, expected)
