"""The Triton kernels, on a GPU where there is one and else in Triton's interpreter."""

import itertools
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip('triton')

from triton_layers import DEVICE, EPS, GROUPS, LAYOUTS, run_layer

from ssn_mm.ops import NORMALIZERS, Logits, Norm, PerChannel, sparsestmax
from ssn_mm.ops.backends import triton as kernels

DTYPES = {  # tolerances, relative and absolute: of maps of this dtype, of statistics
    torch.float64: (1e-12, 1e-12),
    torch.float32: (1e-5, 1e-4),
    torch.float16: (4e-3, 1e-4),
    torch.bfloat16: (3e-2, 1e-4),
}


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch):
    if DEVICE == 'cpu':  # the interpreter takes milliseconds for each
        monkeypatch.setattr(kernels.plans, '_PROGRAMS', 2)


def randn(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=torch.float64).to(DEVICE, dtype)


def make_map(shape, dtype, layout):
    x = randn(*shape, dtype=dtype)
    return x if layout == 'contiguous' else x.movedim(1, -1).contiguous().movedim(-1, 1)


def over_map(t, x):
    return t.to(x.dtype).view(*t.shape, *[1] * (x.dim() - 2))


def rows(x):
    return x.reshape(*x.shape[:2], -1)


PLAIN = SimpleNamespace(
    moments=lambda x: torch.var_mean(rows(x), 2, correction=0)[::-1],
    affine=lambda x, shift, scale, bias: (
        over_map(scale, x) * (x - over_map(shift, x)) + over_map(bias[None], x)
    ),
    sums=lambda dy, x, shift: (rows(dy).sum(2), rows(dy * (x - over_map(shift, x))).sum(2)),
    affine_grad=lambda dy, x, shift, scale, slope, offset: (
        over_map(scale, x) * dy
        + PLAIN.affine(x, shift, slope, bias=dy.new_zeros(x.size(1)))
        + over_map(offset, x)
    ),
)


def close(actual, expected, tolerance):
    torch.testing.assert_close(actual.double(), expected.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('dtype', DTYPES)
def test_passes_over_the_map_agree_with_torch_in_float64(dtype, layout):
    check_maps([(2, 3, 7, 5), (3, 17, 13), (1, 2, 3, 2, 5), (1, 1, 1)], dtype, layout)


def test_passes_take_maps_without_pixels_without_channels_and_of_one_pixel():
    check_maps([(4, 6), (1, 4, 1, 1), (5, 1, 31)], torch.float32, 'contiguous')


@pytest.mark.parametrize('layout', LAYOUTS)
def test_pixels_split_over_steps_and_programs_agree_with_torch(layout, monkeypatch):
    monkeypatch.setattr(kernels.plans, '_CELLS', 64)
    check_maps([(1, 3, 263), (2, 17, 10)], torch.float32, layout)


def check_maps(shapes, dtype, layout):
    of_maps, of_statistics = DTYPES[dtype]
    wide = torch.promote_types(dtype, torch.float32)
    for shape in shapes:
        x, dy = (make_map(shape, dtype, layout) for _ in range(2))
        shift, scale, slope, offset = (randn(*shape[:2], dtype=wide) for _ in range(4))
        for bias in (randn(shape[1], dtype=wide), None):
            zero = randn(shape[1]).zero_() if bias is None else bias
            y = kernels.affine(x, shift, scale, bias)
            assert (y.dtype, y.stride()) == (x.dtype, x.stride())
            close(y, PLAIN.affine(x.double(), shift, scale, zero), of_maps)
        dx = kernels.affine_grad(dy, x, shift, scale, slope, offset)
        assert (dx.dtype, dx.stride()) == (x.dtype, x.stride())
        close(dx, PLAIN.affine_grad(dy.double(), x.double(), shift, scale, slope, offset), of_maps)
        measured = *kernels.moments(x), *kernels.sums(dy, x, shift)
        expected = *PLAIN.moments(x.double()), *PLAIN.sums(dy.double(), x.double(), shift)
        for actual, reference in zip(measured, expected, strict=True):
            assert (actual.dtype, actual.is_contiguous()) == (wide, True)
            close(actual, reference, of_statistics)


@pytest.mark.parametrize('shape', [(1, 1, 2**16), (2, 2, 49)])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_moments_survive_a_mean_of_ten_thousand(shape, layout):
    x = make_map(shape, torch.float32, layout) + 1e4
    mean, var = kernels.moments(x)
    expected = PLAIN.moments(x.double())
    assert (mean - expected[0]).abs().max() <= 2 * 2**-10  # 2^-10 is float32's step there
    close(var, expected[1], 1e-5)


def test_other_layouts_are_refused():
    with pytest.raises(ValueError, match='contiguous or channels last, got strides'):
        kernels.moments(randn(2, 3, 5, 4).transpose(2, 3))


def plain(x, ratios, weight, bias, running, names):
    """Eq. 1, each statistic measured on the map itself."""
    n, c = x.shape[:2]
    cells = x.reshape(n, GROUPS, c // GROUPS, -1)
    dims = {'IN': (3,), 'LN': (1, 2, 3), 'BN': (0, 3), 'GN': (2, 3), 'FBN': (0, 3)}
    mean, var = 0, 0
    for k, name in enumerate(names):
        v, m = torch.var_mean(cells, dims[name], correction=0, keepdim=True)
        if name == 'FBN':
            m, v = (t.view(1, GROUPS, -1, 1) for t in running)
        mean, var = mean + ratios[0, k] * m, var + ratios[1, k] * v
    y = ((cells - mean) / torch.sqrt(var + EPS)).reshape(x.shape)
    weight = torch.ones_like(bias) if weight is None else weight
    return y * over_map(weight[None], x) + over_map(bias[None], x)


def check_layer(names, radius, weighted=True, shape=(3, 6, 5), dtype=torch.float64):
    tolerance = 1e-9 if dtype == torch.double else 1e-3
    x, dy = randn(*shape), randn(*shape)
    c, k = shape[1], len(names)
    logits = (1 / k + 0.3 * randn(2, k)).abs()
    weight, bias = randn(c) if weighted else None, randn(c)
    running = (randn(c), randn(c).square()) if 'FBN' in names else (None, None)
    r = None if radius is None else torch.tensor(radius, device=DEVICE, dtype=torch.float64)
    given = [None if t is None else t.to(dtype) for t in (x, dy, logits, r, weight, bias, *running)]
    mixed, got = run_layer(*given[:6], given[6:], names, PLAIN)
    leaves = [t.requires_grad_() for t in (x, logits, weight, bias) if t is not None]
    ratios = logits
    if radius is not None:
        ratios = sparsestmax(logits, radius) if k > 1 else torch.ones_like(logits)
    y = plain(x, ratios, weight, bias, running, names)
    grads = torch.autograd.grad(y, leaves, dy, allow_unused=True, materialize_grads=True)
    close(mixed.ratios, ratios, tolerance)
    if weight is None:
        got = (*got[:3], got[4])
    for actual, expected in zip(got, (y, *grads), strict=True):
        close(actual, expected, tolerance)
    assert mixed.batch.shape == (2, c if 'BN' in names else 0)
    if 'BN' in names:
        var, mean = torch.var_mean(x.transpose(0, 1).flatten(1), 1, correction=0)
        close(mixed.batch, torch.stack([mean, var]), tolerance)


@pytest.mark.parametrize('k', range(1, len(NORMALIZERS) + 1))
def test_a_layer_of_any_normalizers_agrees_with_autograd(k, monkeypatch):
    order = itertools.permutations if k < 4 else itertools.combinations  # which are fewer
    for i, names in enumerate(order(NORMALIZERS[::-1], k)):
        monkeypatch.setattr(kernels.plans, '_WHOLE', 8192 if i % 2 else 1)  # 1 splits the samples
        check_layer(names, 0.3)


@pytest.mark.parametrize('whole', [1, 8192])
@pytest.mark.parametrize('radius', [None, 0.0, 0.6, 0.9])
@pytest.mark.parametrize('bn', [['BN'], ['FBN'], ['FBN', 'FBN']])
def test_a_layer_at_any_radius_agrees_with_autograd(radius, bn, whole, monkeypatch):
    monkeypatch.setattr(kernels.plans, '_WHOLE', whole)
    check_layer((*bn, 'IN', 'LN'), radius, weighted=False)
    check_layer(('GN', *bn), radius, shape=(1, 4, 1, 3), dtype=torch.float32)


def test_a_sample_of_more_channels_than_a_program_takes_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(kernels.plans, '_WIDEST', 1)
    check_layer(NORMALIZERS, 0.3)
    check_layer(('FBN', 'LN'), None)
    x, c = randn(3, 6, 5), randn(6)
    for source, names in (
        ('logits', ('BN', 'IN')),
        ('selected', ('LN', 'BN')),
        ('selected', ('LN',)),
    ):
        radius = torch.tensor(0.3, device=DEVICE) if source == 'logits' else None
        norm = Norm(names, EPS, GROUPS, source=source)
        given = (x, Logits(torch.eye(2, device=DEVICE).double(), radius), norm, PerChannel(c, c))
        got = kernels.forward(*given)
        with monkeypatch.context() as patch:
            patch.setattr(kernels.plans, '_WIDEST', 4096)
            expected = kernels.forward(*given)
        for ours, want in zip(got, expected, strict=True):
            close(ours, want, 1e-9)


@pytest.mark.parametrize('n', [70_000, 131_072])
def test_more_samples_than_a_block_can_have_are_gone_through_in_a_loop(n, monkeypatch):
    monkeypatch.setattr(kernels.plans, '_SPLIT', 1 << 15)  # fewer programs, for the interpreter
    check_layer(('BN', 'IN', 'LN'), 0.3, shape=(n, 2, 2))


def test_more_programs_than_a_block_can_have_are_summed_in_a_loop(monkeypatch):
    monkeypatch.setattr(kernels.plans, '_SPLIT', 1)
    monkeypatch.setattr(
        kernels.plans, 'pad', lambda count, pad=kernels.plans.pad: min(pad(count), 8)
    )
    check_layer(('BN', 'LN'), 0.3, shape=(37, 2, 2))


def select(z, radius):
    """SparsestMax of logits (2, K), as the kernels' mixing takes them."""
    norm = Norm(NORMALIZERS[: z.size(1)], EPS, GROUPS, source='logits')
    channels = PerChannel(None, None, *randn(2, 6).abs())
    return kernels.mix(*randn(2, 3, 6).abs(), Logits(z, radius), norm, channels)


@pytest.mark.parametrize('k', range(2, len(NORMALIZERS) + 1))
def test_sparsestmax_agrees_with_torch(k):
    """Solves alone; the gradient is compared in whole layers."""
    for kind in range(9):
        z = randn(2, k)
        if kind < 3:
            z[:, 1] = z[:, 0] = z.max(1).values  # a tie at the top
        if kind == 3:
            z[:] = 1
        for radius in torch.tensor([0.0, 0.3, 0.6, 0.8165, 1.0], device=DEVICE).double():
            close(select(z, radius).ratios, sparsestmax(z, radius), 1e-12)


def test_one_logit_out_of_one_is_selected_and_not_a_number_stays_visible():
    assert (select(randn(2, 1), torch.tensor(0.5, device=DEVICE)).ratios == 1).all()
    nan = torch.tensor(torch.nan, device=DEVICE)
    assert select(randn(2, 2), nan).ratios.isnan().all()


@pytest.mark.parametrize('layout', LAYOUTS)
def test_runs_agree_bit_for_bit(layout, monkeypatch):
    monkeypatch.setattr(kernels.plans, '_CELLS', 64)
    monkeypatch.setattr(kernels.plans, '_WHOLE', 1)
    x, dy = (make_map((2, 4, 70), torch.float32, layout) for _ in range(2))
    logits, weight, bias = (
        randn(*s, dtype=torch.float32) for s in ((2, len(NORMALIZERS)), (4,), (4,))
    )
    r = torch.tensor(0.2, device=DEVICE)
    given = (x, dy, logits, r, weight, bias, (bias, weight**2), NORMALIZERS)
    (mixed, first), (again, second) = run_layer(*given), run_layer(*given)
    for a, b in zip((*mixed, *first), (*again, *second), strict=True):
        assert torch.equal(a, b)
