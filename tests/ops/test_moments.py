import pytest
import torch
from torch.nn import functional as F

from ssn_mm.ops import batch_moments, group_moments, instance_moments, layer_moments

X = torch.randn(3, 8, 5, 7, dtype=torch.float64)


def moments(x, dims):
    return x.mean(dims), x.var(dims, correction=0)


def test_wider_moments_follow_from_instance_moments():
    mean, var = instance_moments(X)
    torch.testing.assert_close((mean, var), moments(X, (2, 3)))
    torch.testing.assert_close(layer_moments(mean, var), tuple(
        m[:, None] for m in moments(X, (1, 2, 3))
    ))  # fmt: skip
    torch.testing.assert_close(batch_moments(mean, var), tuple(
        m[None] for m in moments(X, (0, 2, 3))
    ))  # fmt: skip
    by_group = moments(X.reshape(3, 4, 2, 5, 7), (2, 3, 4))
    torch.testing.assert_close(
        group_moments(mean, var, 4), tuple(m.repeat_interleave(2, 1) for m in by_group)
    )


@pytest.mark.parametrize(
    'merge', [layer_moments, batch_moments, lambda m, v: group_moments(m, v, 2)]
)
def test_a_mean_of_ten_thousand_does_not_cancel_the_variance(merge):
    x = torch.randn(4, 8, 32, 32, dtype=torch.float64)
    _, expected = merge(*instance_moments(x))
    _, var = merge(*instance_moments((x + 1e4).float()))
    torch.testing.assert_close(var.double(), expected, rtol=2e-3, atol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_inputs_are_measured_in_float32(dtype):
    x = X.to(dtype)
    mean, var = instance_moments(x)
    assert mean.dtype is torch.float32
    torch.testing.assert_close((mean, var), instance_moments(x.float()))


def test_maps_of_one_element_have_no_variance():
    x = torch.randn(2, 3, 1, 1)
    mean, var = instance_moments(x)
    assert torch.equal(mean, x[..., 0, 0])
    assert torch.equal(var, torch.zeros(2, 3))
    assert torch.equal(instance_moments(x.flatten(1))[1], var)


def test_batch_moments_are_those_of_batch_norm():
    mean, var = torch.zeros(8).double(), torch.ones(8).double()
    F.batch_norm(X, mean, var, training=True, momentum=1.0)
    own_mean, own_var = batch_moments(*instance_moments(X))
    torch.testing.assert_close(own_mean[0], mean)
    torch.testing.assert_close(own_var[0] * (105 / 104), var)
