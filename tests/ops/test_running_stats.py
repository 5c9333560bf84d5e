"""Running statistics in every backend: when BN updates them, and FBN, which reads them."""

import contextlib

import pytest
import references
import torch
from flat_norms import selected_norm, sparse_switch_norm
from torch.utils._python_dispatch import TorchDispatchMode

from ssn_mm.ops import NORMALIZERS, switch_norm

pytestmark = pytest.mark.usefixtures('each_backend')
ALL = len(NORMALIZERS)
RADIUS = torch.tensor(0.2)
TOLERANCES = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}


def statistics(c, dtype=torch.float32):
    return torch.randn(c).to(dtype), (torch.rand(c) + 0.5).to(dtype)


class Recorded(TorchDispatchMode):
    """Values that the CPU cannot read for free, as a GPU's."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('mode', [contextlib.nullcontext, Recorded])
@pytest.mark.parametrize('momentum', [0.1, torch.tensor(0.25)])
def test_running_statistics_move_exactly_where_bn_has_a_ratio(mode, momentum):
    x, stored = torch.randn(3, 6, 5, 4), torch.rand(2, 6)
    for rows, moved in (('LL', False), ('IL', False), ('LB', True), ('BI', True), ('BB', True)):
        ratios = torch.eye(3)[['ILB'.index(row) for row in rows]]
        for function, given in ((switch_norm, (ratios,)), (sparse_switch_norm, (ratios, RADIUS))):
            mean, var = stored.clone().unbind()
            with mode():
                function(
                    x if moved else x / 0,  # infinite statistics do not get in, either
                    *given,
                    running_mean=mean,
                    running_var=var,
                    training=True,
                    momentum=momentum,
                )
            expected = stored[0].lerp(x.mean((0, 2, 3)), momentum) if moved else stored[0]
            torch.testing.assert_close(mean, expected)
            expected = stored[1].lerp(x.var((0, 2, 3)), momentum) if moved else stored[1]
            torch.testing.assert_close(var, expected)


@pytest.mark.parametrize('mode', [contextlib.nullcontext, Recorded])
def test_a_statistic_that_fbn_uses_is_a_constant(mode):
    x, names = torch.randn(3, 6, 5, 4), ('BN', 'LN', 'FBN')
    for rows, moved in (('BL', 'mv'), ('BF', 'm'), ('FB', 'v'), ('FF', ''), ('LF', ''), ('LL', '')):
        ratios = torch.eye(3)[['BLF'.index(row) for row in rows]].requires_grad_()
        mean, var = statistics(6)
        before = mean.clone(), var.clone()
        with mode():
            y = switch_norm(x, ratios, names, None, None, mean, var, training=True)
        expected = references.switch_norm(
            x, ratios, names, torch.ones(6), torch.zeros(6), running=before
        )
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
        # what the update wrote is not what the backward pass reads
        dy = torch.randn_like(y)
        gradients = (torch.autograd.grad(t, ratios, dy) for t in (y, expected))
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)
        new = x.mean((0, 2, 3)), x.var((0, 2, 3))
        for name, t, old, seen in zip('mv', (mean, var), before, new, strict=True):
            torch.testing.assert_close(t, old.lerp(seen, 0.1) if name in moved else old)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('dtype', TOLERANCES)
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_fbn_is_batch_norm_by_constants_in_training_too(layout, dtype, training):
    wide = torch.promote_types(dtype, torch.float32)
    running = statistics(6, wide)
    x, dy = (torch.randn(3, 6, 5, 4).to(dtype, memory_format=layout) for _ in range(2))
    leaves = [t.detach().requires_grad_() for t in (x, *statistics(6, wide))]
    options = dict(training=training, num_groups=3)

    def run(function, *given):
        y = function(leaves[0], *given, *leaves[1:], *running, **options)
        assert y.dtype is dtype
        return y.double(), *(g.double() for g in torch.autograd.grad(y, leaves, dy))

    exact = [t.detach().double().requires_grad_() for t in leaves]
    y = torch.nn.functional.batch_norm(exact[0], *(t.double() for t in running), *exact[1:])
    expected = y, *torch.autograd.grad(y, exact, dy.double())
    tolerance = TOLERANCES[dtype]
    ones = torch.ones(2, 1, dtype=wide)
    for ours in (
        run(selected_norm, torch.zeros(2, ALL), 'FBN', 'FBN'),
        run(switch_norm, ones, ('FBN',)),
    ):
        torch.testing.assert_close(ours, expected, rtol=tolerance, atol=10 * tolerance)


def test_fbn_takes_part_in_training_on_one_value_and_takes_what_others_cannot():
    x, running = torch.randn(1, 6, 1, 1), statistics(6)
    ratios = torch.tensor([[0.5, 0.3, 0.2]] * 2)
    y = switch_norm(x, ratios, ('IN', 'BN', 'FBN'), None, None, *running, training=True)
    torch.testing.assert_close(y, torch.nn.functional.batch_norm(x, *running))


def test_fbn_without_running_statistics_is_refused_by_name():
    x, logits = torch.randn(2, 6, 3, 3), torch.ones(2, 2) / 2
    for training in (True, False):
        with pytest.raises(ValueError, match=r"FBN, one of \('IN', 'FBN'\), .* there are none"):
            switch_norm(x, logits, ('IN', 'FBN'), training=training)
        with pytest.raises(ValueError, match=r"FBN, one of \('FBN',\), .* give running_mean"):
            selected_norm(x, logits, 'FBN', 'FBN', training=training)
