"""What a training step asks of a GPU, found without one."""

import pytest
import torch
from like_gpu import LikeGPU
from torch.utils._python_dispatch import TorchDispatchMode

from ssn_mm import SN, SSN, keep_selected, set_radius
from ssn_mm.layers import SyncSSN
from ssn_mm.ops import sparsemax
from ssn_mm.ops.sparsestmax import _SparsestMax

LAYERS = {
    'SSN': lambda: SSN(6),
    'without momentum': lambda: SSN(6, momentum=None, affine=False),
    'four normalizers': lambda: SSN(6, normalizers=('GN', 'IN', 'BN', 'LN'), num_groups=3),
    'corrected': lambda: SSN(6, correction=1),
    'SyncSSN': lambda: SyncSSN(6),
    'SN': lambda: SN(6),
}
SHAPES = [(4, 6, 5, 5), (4, 6, 1, 1), (1, 6, 1, 1), (4, 6)]


@pytest.fixture(params=['reference', 'triton'])
def gpu(request, monkeypatch):
    """A mode in which operators run as on a deterministic GPU that nobody waits for."""
    mode = LikeGPU()
    if request.param == 'triton':
        kernels = pytest.importorskip('ssn_mm.ops.backends.triton')
        monkeypatch.setattr(kernels, '_run', mode.launch)
    monkeypatch.setenv('SSN_MM_BACKEND', request.param)
    return mode


def select(layer, mean, var):
    """Lets an SSN select, with the CPU's knowledge of it."""
    with torch.no_grad():
        for row, name in zip(layer.ratio_logits, (mean, var), strict=True):
            row.copy_(torch.eye(len(row))[layer.normalizers.index(name)])
    set_radius(layer, 1.0)
    keep_selected(layer)


@pytest.mark.parametrize(
    'ask',
    [
        lambda x: x.cumsum(1),
        lambda x: x[:, [0, 1]],
        lambda x: x[x > 0],
        lambda x: x.new_tensor(3.0),
        lambda x: torch.tensor([1.0, 2.0]),
        lambda x: bool((x > 0).all()),
        lambda x: x.tolist(),
        lambda x: x.to('meta'),
        lambda x: torch.autograd.grad(x.sort(1).values.sum(), x),
        lambda x: x.scatter(1, x.argmax(1, keepdim=True), 1.0),
    ],
)
def test_the_stand_in_refuses_what_a_gpu_refuses_or_waits_for(ask):
    x = torch.randn(2, 3, requires_grad=True)
    with pytest.raises(RuntimeError, match=r'deterministic|waits'), LikeGPU():
        ask(x)


@pytest.mark.parametrize('k', [2, 3, 4, 33])
def test_sparsestmax_and_its_gradients_have_deterministic_algorithms(k):
    z, r = torch.randn(8, k, requires_grad=True), torch.linspace(0, 0.9, 8)[:, None]
    with LikeGPU():
        for p in (_SparsestMax.apply(z, r), sparsemax(z)):
            (grad,) = torch.autograd.grad(p.square().sum(), z, create_graph=True)
            torch.autograd.grad(grad.square().sum(), z)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('kind', LAYERS)
def test_no_step_asks_for_what_a_deterministic_gpu_refuses_or_waits_for(gpu, kind, shape):
    x, dy = torch.randn(shape, requires_grad=True), torch.randn(shape)
    for radius in (0.0, 0.5, 1.0):
        layer = LAYERS[kind]()
        set_radius(layer, radius)
        parameters = [x, *layer.parameters()]
        with gpu:
            torch.autograd.grad(layer(x), parameters, dy)
            layer.eval()(x)
            keep_selected(layer)
        assert gpu.seen


class OnDevice(TorchDispatchMode):
    """Stops at an operator that gives a tensor of the CPU."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for t in out if isinstance(out, (tuple, list)) else [out]:
            assert not isinstance(t, torch.Tensor) or t.is_meta, func
        return out


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('kind', LAYERS)
def test_a_step_makes_no_tensor_on_the_host(kind, shape, monkeypatch):
    """A tensor of the CPU would be copied to the device, or be refused beside its tensors."""
    monkeypatch.setenv('SSN_MM_BACKEND', 'reference')
    layer = LAYERS[kind]().to('meta')  # a device without memory
    x = torch.empty(shape, device='meta', requires_grad=True)
    for radius in (0.0, 1.0):
        set_radius(layer, radius)
        dy, parameters = torch.empty_like(x), [x, *layer.parameters()]
        with OnDevice():
            torch.autograd.grad(layer(x), parameters, dy)


@pytest.mark.parametrize(('mean', 'var'), [('LN', 'LN'), ('IN', 'BN'), ('BN', 'BN')])
def test_nor_does_a_step_that_knows_its_selection(gpu, mean, var):
    layer = SSN(6)
    select(layer, mean, var)
    x, dy = torch.randn(4, 6, 5, 5, requires_grad=True), torch.randn(4, 6, 5, 5)
    with gpu:
        torch.autograd.grad(layer(x), [x, *layer.parameters()], dy)
        keep_selected(layer)
    assert 'sort' not in gpu.seen[: gpu.seen.index('stack')]  # no ratios before keep_selected
