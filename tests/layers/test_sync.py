"""BN's statistics over two processes."""

import pytest
import torch
import torch.distributed as dist
from distributed import on_ranks

from ssn_mm import SSN, set_radius
from ssn_mm.layers import SyncSSN


def sync_ssn():
    return SyncSSN(6, eps=1e-3)


LAYERS = {'SSN': lambda: SSN(6, eps=1e-3, sync=True), 'SyncSSN': sync_ssn}


def run(layer, x, dy):
    set_radius(layer.double(), 0.3)
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(dy)
    return y, x.grad, layer


def compare_with_the_joint_batch(rank, kind):
    generator = torch.Generator().manual_seed(0)
    x, dy = torch.randn(2, 5, 6, 3, 3, generator=generator).double()
    mine = (slice(0, 2), slice(2, 5))[rank]  # batches of different size
    y, dx, layer = run(LAYERS[kind](), x[mine], dy[mine])
    for p in layer.parameters():
        dist.all_reduce(p.grad)
    joint_y, joint_dx, joint = run(SSN(6, eps=1e-3), x, dy)
    torch.testing.assert_close((y, dx), (joint_y[mine], joint_dx[mine]))
    for ours, theirs in zip(layer.parameters(), joint.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for ours, theirs in zip(layer.buffers(), joint.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('kind', LAYERS)
def test_a_synchronised_layer_equals_one_process_with_the_joint_batch(tmp_path, kind):
    on_ranks(2, tmp_path, compare_with_the_joint_batch, kind)


def test_a_synchronised_layer_is_local_without_a_process_group():
    x, dy = torch.randn(2, 5, 6, 3, 3).double()
    y, dx, layer = run(sync_ssn(), x, dy)
    plain_y, plain_dx, plain = run(SSN(6, eps=1e-3), x, dy)
    assert torch.equal(y, plain_y)
    assert torch.equal(dx, plain_dx)
    for key, value in plain.state_dict().items():
        assert torch.equal(layer.state_dict()[key], value), key


def test_sync_ssn_is_an_ssn_that_configs_name():
    cnn = pytest.importorskip('mmcv.cnn')
    name, layer = cnn.build_norm_layer(
        dict(type='SyncSSN', normalizers=('BN', 'GN'), num_groups=4, requires_grad=False), 8, 1
    )
    assert name == 'bn1'
    assert isinstance(layer, SSN)
    assert layer.sync
    assert layer.normalizers == ('BN', 'GN')
    assert not any(param.requires_grad for param in layer.parameters())
