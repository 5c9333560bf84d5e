"""BN's statistics over two processes."""

import os
from functools import partial

import pytest
import torch
import torch.distributed as dist
from distributed import gathered, on_ranks
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

from ssn_mm import SSN, keep_selected, set_radius
from ssn_mm.layers import SyncSSN
from ssn_mm.ops import switch_norm
from ssn_mm.ops.backends import fused
from ssn_mm.ops.dispatch import BACKENDS


def sync_ssn():
    return SyncSSN(6, eps=1e-3)


def with_fbn(normalizers=('IN', 'FBN', 'BN'), **options):
    """A layer with statistics as of an earlier training."""
    layer = SSN(6, normalizers, eps=1e-3, **options)
    layer.running_mean.copy_(torch.linspace(-1, 1, 6)), layer.running_var.fill_(2)
    return layer


def updated(**options):
    return with_fbn(('IN', 'FBN'), update_fbn=True, **options)


PLAIN = {'beside FBN': with_fbn, 'FBN': updated}
LAYERS = {'SSN': lambda: SSN(6, eps=1e-3, sync=True), 'SyncSSN': sync_ssn}
LAYERS |= {kind: partial(build, sync=True) for kind, build in PLAIN.items()}


def run(layer, x, dy):
    set_radius(layer.double(), 0.3)
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(dy)
    return y, x.grad, layer


def compare_with_the_joint_batch(rank, kind, backends=('',), first=2):
    generator = torch.Generator().manual_seed(0)
    x, dy = torch.randn(2, 5, 6, 3, 3, generator=generator).double()
    mine = (slice(0, first), slice(first, 5))[rank]  # batches of different size
    plain = PLAIN.get(kind, lambda: SSN(6, eps=1e-3))
    joint_y, joint_dx, joint = run(plain(), x, dy)
    for name in backends:
        os.environ['SSN_MM_BACKEND'] = name
        y, dx, layer = run(LAYERS[kind](), x[mine], dy[mine])
        for p in layer.parameters():
            dist.all_reduce(p.grad)
        torch.testing.assert_close((y, dx), (joint_y[mine], joint_dx[mine]))
        for ours, theirs in zip(layer.parameters(), joint.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad)
        for ours, theirs in zip(layer.buffers(), joint.buffers(), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize('kind', LAYERS)
def test_a_synchronised_layer_equals_one_process_with_the_joint_batch(tmp_path, kind):
    on_ranks(2, tmp_path, compare_with_the_joint_batch, kind)


@pytest.mark.compiler
def test_every_backend_measures_the_joint_batch_exactly(tmp_path):
    if not torch.cuda.is_available():
        pytest.importorskip('ssn_mm.ops.backends.triton')
    on_ranks(2, tmp_path, compare_with_the_joint_batch, 'SSN', BACKENDS)
    on_ranks(2, tmp_path, compare_with_the_joint_batch, 'beside FBN', BACKENDS)


def test_a_process_without_samples_takes_part_and_waits_for_none(tmp_path):
    for kind in ('SSN', *PLAIN):
        on_ranks(2, tmp_path, compare_with_the_joint_batch, kind, ('', 'reference'), 5, seconds=30)


def compare_maps_of_different_size(rank):
    """BN's mean and variance are those of all elements of all processes' maps."""
    maps = [torch.randn(2, 4, 3, 3).double(), torch.randn(3, 4, 5, 4).double()]
    grads = [torch.randn_like(x) for x in maps]
    for tensors in (maps, grads):
        for source, t in enumerate(tensors):
            dist.broadcast(t, source)
    leaves = [x.clone().requires_grad_() for x in maps]
    p = torch.tensor([[0.3, 0.7], [0.6, 0.4]]).double()
    elements = torch.cat([x.transpose(0, 1).flatten(1) for x in leaves], 1)
    var, mean = torch.var_mean(elements, 1, correction=0)
    for x, dy in zip(leaves, grads, strict=True):
        own_var, own_mean = torch.var_mean(x, (2, 3), correction=0)
        shift, mixed = p[0, 0] * own_mean + p[0, 1] * mean, p[1, 0] * own_var + p[1, 1] * var
        y = (x - shift[..., None, None]) / torch.sqrt(mixed[..., None, None] + 1e-5)
        y.backward(dy, retain_graph=True)
    for name in BACKENDS:
        os.environ['SSN_MM_BACKEND'] = name
        x = maps[rank].clone().requires_grad_()
        switch_norm(x, p, ('IN', 'BN'), training=True, sync=True).backward(grads[rank])
        torch.testing.assert_close(x.grad, leaves[rank].grad)


@pytest.mark.compiler
def test_maps_of_different_size_are_joined_by_their_elements(tmp_path):
    pytest.importorskip('triton')
    on_ranks(2, tmp_path, compare_maps_of_different_size)


class Collectives:
    """Counts the exchanges between processes."""

    NAMES = ('all_reduce', 'all_gather', 'all_gather_into_tensor', 'all_gather_single', 'broadcast')

    def __init__(self, patch):
        self.count = 0
        for name in self.NAMES:
            if hasattr(dist, name):
                patch.setattr(dist, name, self._counted(getattr(dist, name)))

    def _counted(self, function):
        def counted(*args, **kwargs):
            self.count += 1
            return function(*args, **kwargs)

        return counted

    def take(self):
        count, self.count = self.count, 0
        return count


def count_exchanges(rank, selected):
    """One exchange forward and one back; none where BN has lost on every process."""
    x = torch.randn(2 * rank, 6, 3, 3, requires_grad=True)  # none on the first
    with pytest.MonkeyPatch.context() as patch:
        collectives = Collectives(patch)
        for name in ('', 'reference'):
            os.environ['SSN_MM_BACKEND'] = name
            layer = SyncSSN(6)
            if selected:
                vertices = [layer.normalizers.index(n) for n in selected]
                with torch.no_grad():
                    layer.ratio_logits.copy_(torch.eye(3)[vertices])
                keep_selected(layer)
            expected = 1 if selected is None or 'BN' in selected else 0
            y = layer(x)
            assert collectives.take() == expected
            y.sum().backward()
            assert collectives.take() == expected
            layer.eval()(x).sum().backward()
            assert collectives.take() == 0
            if expected:
                statistics = [t.tolist() for t in (layer.running_mean, layer.running_var)]
                assert all(other == statistics for other in gathered(statistics))
                collectives.take()


@pytest.mark.parametrize('selected', [None, ('BN', 'LN'), ('LN', 'LN'), ('IN', 'LN')])
def test_processes_talk_once_each_way_and_not_at_all_without_batch_norm(tmp_path, selected):
    on_ranks(2, tmp_path, count_exchanges, selected, seconds=30)


def compare_second_derivatives(rank):
    """Gradients of a process' own loss, which is a part of the joint one."""
    generator = torch.Generator().manual_seed(0)
    x, v = torch.randn(2, 5, 3, 3, 2, generator=generator).double()
    p, mine = torch.tensor([[0.3, 0.7], [0.6, 0.4]]).double(), (slice(0, 2), slice(2, 5))[rank]

    def times_hessian(x, v, sync):
        x = x.clone().requires_grad_()
        y = switch_norm(x, p, ('IN', 'BN'), training=True, sync=sync)
        (g,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad((g * v).sum(), x)[0]

    expected = times_hessian(x, v, sync=False)[mine]
    for name in ('', 'reference'):
        os.environ['SSN_MM_BACKEND'] = name
        torch.testing.assert_close(times_hessian(x[mine], v[mine], sync=True), expected)


def test_second_derivatives_of_the_joint_batch_are_exact(tmp_path):
    on_ranks(2, tmp_path, compare_second_derivatives, seconds=60)


@pytest.fixture
def two_processes():
    """Sets up this process and another one that exchanges nothing."""
    dist.init_process_group('fake', store=FakeStore(), rank=0, world_size=2)
    yield
    dist.destroy_process_group()


class Operators(TorchDispatchMode):
    """Lists PyTorch's operators that compute something."""

    def __init__(self):
        super().__init__()
        self.ran = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        views = ('view', 'slice', 'select', 'unbind', 'detach', 'split')
        if name not in (*views, 'empty_like', 'new_empty', 'promote_types'):
            self.ran.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ('source', 'names', 'zeros'),
    [('logits', 'IN,LN,BN', []), ('selected', 'BN,LN', ['zeros_like'])],
)
def test_a_synchronised_layer_on_triton_launches_kernels_and_nothing_else(
    source, names, zeros, two_processes, monkeypatch
):
    kernels = pytest.importorskip('ssn_mm.ops.backends.triton')
    launched = []
    monkeypatch.setattr(kernels, '_run', lambda kernel, *_, **__: launched.append(kernel.__name__))
    monkeypatch.setattr(fused, 'load_kernels', lambda *_: kernels.BACKEND)
    x = torch.randn(8, 64, 14, 14)
    logits, c = torch.ones(2, 3), torch.ones(64)
    radius = torch.tensor(0.3) if source == 'logits' else None
    options = (source, names, 1e-5, 32, True, '')
    with Operators() as forward:
        given = (x, logits, c, c, radius, None, None)
        y, ratios, state, batch = fused._forward(*given, *options)
    merged = ['merge_kernel', 'merge_kernel']  # own samples, then processes
    assert launched == ['reduce_kernel', *merged, 'mix_kernel', 'affine_kernel']
    assert forward.ran == ['_allgather_base_', 'cat']
    launched.clear()
    with Operators() as backward:
        saved = (x, logits, c, None, None, ratios, state, batch)
        fused._backward(y, *saved, source, names, 32, True, '')
    small = ['columns_kernel', 'mix_grad_kernel']
    assert launched == ['reduce_kernel', *small, 'affine_kernel']
    assert backward.ran == ['allreduce_', *zeros]  # the gradient of logits that do not learn


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
