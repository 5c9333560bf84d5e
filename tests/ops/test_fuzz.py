"""Random layers in every backend against the reference in float64, for a box of CPU time.

How wrong may a kernel be? As much as the exact result moves when what goes in, and the ratios on
the way, move by a unit of rounding: a large mean, a constant map or a radius at a corner move it
far. ALLOWED such moves, and the rounding of what comes out, are let pass.
"""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from backends import ON_CPU
from flat_norms import selected_norm, sparse_switch_norm

from ssn_mm.ops import (
    NORMALIZERS,
    Norm,
    PerChannel,
    circumscribed_radius,
    competing,
    inscribed_radius,
    sparsestmax,
    switch_norm,
)
from ssn_mm.ops.backends.reference import mix_moments
from ssn_mm.ops.moments import instance_moments
from ssn_mm.ops.normalizers import hand_over
from ssn_mm.ops.projection import solve

st = pytest.importorskip('hypothesis.strategies')
from fuzzing import run_cases  # noqa: E402

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
LAYOUTS = ('contiguous', 'channels last', 'transposed', 'strided', 'expanded', 'sliced')
ALLOWED = 32
OUTPUTS = ('y', 'dx', 'dlogits', 'dweight', 'dbias', 'running mean', 'running var')


@dataclass(frozen=True)
class Case:
    """A call of an operator; its repr, given to ``check``, runs it again."""

    source: str  # 'logits', 'ratios' or 'selected', as in backends.reference
    shape: tuple[int, ...]
    names: tuple[str, ...]
    groups: int
    dtype: torch.dtype
    layout: str
    dy_layout: str
    logits: tuple[tuple[float, ...], ...]
    radius: float
    affine: bool
    narrow: bool  # γ and β in the map's dtype
    training: bool
    running: bool
    momentum: float
    eps: float
    mean: float
    scale: float
    seed: int


@st.composite
def cases(draw, most=9, dtypes=DTYPES):
    source = draw(st.sampled_from(('logits', 'logits', 'ratios', 'selected')))
    rank = draw(st.integers(0, 3))
    groups = draw(st.integers(1, 4))
    c = groups * draw(st.integers(1, 6))
    size = st.integers(1, most) if rank > 1 else st.integers(1, most**2)
    names = draw(st.permutations(NORMALIZERS))
    names = names[: draw(st.integers(1 if source == 'selected' else 2, len(names)))]
    names = names[:2] if source == 'selected' else names
    k = len(names)
    corners = st.sampled_from((0.0, inscribed_radius(max(k, 2)), circumscribed_radius(max(k, 2))))
    # the square of less is 0 in float32, and SparsestMax at equal logits then sparsemax
    radii = st.floats(2.0**-60, 1.25, width=32)
    return Case(
        source=source,
        shape=(draw(st.integers(1, 5)), c, *draw(st.tuples(*[size] * rank))),
        names=tuple(names),
        groups=groups,
        dtype=draw(st.sampled_from(dtypes)),
        layout=draw(st.sampled_from(LAYOUTS)),
        dy_layout=draw(st.sampled_from(LAYOUTS)),
        logits=draw(logit_rows(k) if source == 'logits' else ratio_rows(k)),
        radius=draw(corners | radii),
        affine=draw(st.booleans()),
        narrow=draw(st.booleans()),
        training=draw(st.booleans()),
        running=draw(st.booleans()) or 'FBN' in names,
        momentum=draw(st.sampled_from((0.1, 0.0, 1.0, 0.37))),
        eps=draw(st.sampled_from((1e-5, 1e-3, 1e-8))),
        mean=draw(st.sampled_from((0.0, 1.0, -1e4))),
        scale=draw(st.sampled_from((1.0, 0.0, 1e-4, 1e4))),
        seed=draw(st.integers(0, 2**32)),
    )


def logit_rows(k):
    """Logits (2, K) that are free, tied, nearly tied, huge or tiny."""
    row = st.tuples(*[st.floats(-2, 2, width=32)] * k)
    tied = st.tuples(*[st.sampled_from((0.0, 0.5, 1.0, 1.00001, 1.001))] * k)
    scaled = st.tuples(row, st.sampled_from((1e-30, 1e-6, 1e3, 1e30)))
    scaled = scaled.map(lambda t: tuple(v * t[1] for v in t[0]))
    return st.tuples(*[row | tied | scaled] * 2)


def ratio_rows(k):
    """Ratios (2, K): points of the simplex, of its edges and its vertices."""
    weights = st.tuples(*[st.sampled_from((0.0, 1.0)) | st.floats(0.01, 1)] * k)
    row = weights.filter(any).map(lambda w: tuple(v / sum(w) for v in w))
    return st.tuples(row, row)


def lay_out(t, layout):
    """The numbers of a map in another memory layout; 'expanded' repeats the first sample."""
    if layout == 'channels last':
        return t.movedim(1, -1).contiguous().movedim(-1, 1)
    if layout == 'transposed':
        return t.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == 'strided':
        return torch.stack([t, t], -1)[..., 0]
    if layout == 'expanded':
        return t[:1].expand_as(t)
    if layout == 'sliced':
        return torch.cat([t.new_zeros(1), t.flatten()])[1:].view(t.shape)
    return t


def make(case):
    """The tensors of a case: x, dy, logits, weight, bias, running mean and variance."""
    g = torch.Generator().manual_seed(case.seed)
    c, wide = case.shape[1], torch.promote_types(case.dtype, torch.float32)
    x, dy = (torch.randn(case.shape, generator=g) for _ in range(2))
    x = (x * case.scale + case.mean).clamp(-6e4, 6e4)  # within half precision
    rows = torch.randn(4, c, generator=g)
    rows[3] = rows[3].square() + 0.1
    small = case.dtype if case.narrow else wide
    weight, bias = rows[:2].to(small) if case.affine else (None, None)
    running = rows[2:].to(wide) if case.running else (None, None)
    logits = torch.tensor(case.logits, dtype=wide)
    x, dy = lay_out(x.to(case.dtype), case.layout), lay_out(dy.to(case.dtype), case.dy_layout)
    return [x, dy, logits, weight, bias, *running]


def run(case, tensors, function):
    """Outputs of ``function(x, logits, **options)`` as OUTPUTS has them, None for what is not."""
    copies = [t if t is None else t.detach() for t in tensors]
    x, dy, logits, weight, bias = copies[:5]
    running = [t if t is None else t.clone() for t in copies[5:]]
    leaves = [t for t in (x, logits, weight, bias) if t is not None]
    leaves = [t.requires_grad_() for t in leaves]
    y = function(
        x,
        logits,
        weight=weight,
        bias=bias,
        running_mean=running[0],
        running_var=running[1],
        training=case.training,
        momentum=case.momentum,
        eps=case.eps,
        num_groups=case.groups,
    )
    grads = torch.autograd.grad(y, leaves, dy, allow_unused=True, materialize_grads=True)
    return [y.detach(), *grads, *[None] * (4 - len(grads)), *running]


def operator(case):
    """The operator that the case calls."""
    if case.source == 'selected':
        return lambda x, z, **options: selected_norm(x, z, case.names[0], case.names[-1], **options)
    if case.source == 'ratios':
        return lambda x, z, **options: switch_norm(x, z, case.names, **options)
    radius = torch.tensor(case.radius)
    return lambda x, z, **options: sparse_switch_norm(x, z, radius, case.names, **options)[0]


def exact(case, tensors, noise=lambda t: t, ratio_noise=lambda t: t):
    """The result in float64, of what ``noise`` makes of the tensors and of the ratios between."""
    tensors = [t if t is None else noise(t.double()) for t in tensors]
    radius = noise(torch.tensor(case.radius).double())

    def compose(x, z, **options):
        p = z
        if case.source == 'logits':
            p = sparsestmax(z, radius)
        elif case.source == 'selected':
            k = len(case.names)
            p = torch.eye(k).double()[[0, k - 1]] + 0 * z
        return switch_norm(x, ratio_noise(p), case.names, **options)

    return run(case, tensors, compose)


def moves(case, tensors, u):
    """How far rounding by ``u`` moves each output, at most, in three tries."""
    g = torch.Generator().manual_seed(case.seed + 1)

    def noise(t):
        return t * (1 + u * (2 * torch.rand(t.shape, generator=g) - 1).double().sign())

    tries = [(noise, lambda t: t), (lambda t: t, noise), (noise, noise)]
    return [exact(case, tensors, *one) for one in tries]


def is_measurable(case):
    batch_stats = case.training or not case.running
    try:
        fit = competing(case.names, case.shape, batch_stats, case.groups)
    except ValueError:
        return False
    return all(fit) or case.source != 'selected'


def check(case, backends, monkeypatch, found=None):
    """Compares backends with the exact result; ``found`` takes how wrong they are, in moves."""
    if not is_measurable(case):
        return
    tensors = make(case)
    u = torch.finfo(torch.promote_types(case.dtype, torch.float32)).eps / 2
    monkeypatch.setenv('SSN_MM_BACKEND', 'reference')
    right, near = exact(case, tensors), None
    for backend in backends:
        monkeypatch.setenv('SSN_MM_BACKEND', backend)
        got = run(case, tensors, operator(case))
        for i, name in enumerate(OUTPUTS):
            if right[i] is None:
                continue
            wrong, move = excess(got[i], right[i]), u * right[i].abs().max().item()
            if wrong > ALLOWED * move:  # seldom, and the moves take as long as all else
                monkeypatch.setenv('SSN_MM_BACKEND', 'reference')
                near = near or moves(case, tensors, u)
                move += max((one[i] - right[i]).abs().max().item() for one in near)
                move += u * cancelled(name, case, tensors)
            if found is not None:
                found.append((wrong / (move or 5e-324), backend, name, case))
            elif wrong:
                assert wrong <= ALLOWED * move, f'{backend}: {name} is off by {wrong:.3g}'


def excess(ours, want):
    """Largest distance to the exact result beyond the rounding of ``ours``."""
    kind = torch.finfo(ours.dtype)
    rounding = kind.eps / 2 * want.abs() + kind.smallest_normal * kind.eps
    ours, want = (t.double().clamp(-kind.max, kind.max) for t in (ours, want))  # half types end
    return ((ours - want).abs() - rounding).nan_to_num(nan=math.inf).max().clamp(min=0).item()


def cancelled(name, case, tensors):
    """Size of the terms of a result whose sum may be much smaller, whatever goes in."""
    x, dy, z, weight, _, *running = [t if t is None else t.double() for t in tensors]
    p, stretch = ratios_of(case, z)
    if name == 'dlogits' and case.source == 'logits':  # of SparsestMax's Jacobian
        given = exact(replace(case, source='ratios'), [*tensors[:2], p, *tensors[3:]])[2]
        return (stretch.max() * given.abs().max()).item()
    if name in ('running mean', 'running var'):
        if may_lose_its_ratio(case, z):  # updated or not
            return math.inf
        return running[name == 'running var'].abs().max().item()
    if name not in ('y', 'dx'):
        return 0.0
    batch_stats = case.training or not case.running
    fit = competing(case.names, case.shape, batch_stats, case.groups)
    p, names = (p, case.names) if all(fit) else hand_over(p, case.names, fit)
    moments = instance_moments(x)
    if not batch_stats:
        names = ['FBN' if name == 'BN' else name for name in names]
    norm, channels = Norm(tuple(names), num_groups=case.groups), PerChannel(None, None, *running)
    (_, var), _ = mix_moments(moments, x[:, 0].numel(), p, norm, channels)
    scale = 1.0 if weight is None else weight.abs().max()
    # y's are the map and its mean, which is rounded: of two elements y is 1 whatever goes in
    given = x if name == 'y' else dy
    return float(scale * given.abs().max() * (var + case.eps).rsqrt().max())


def may_lose_its_ratio(case, z):
    """Whether rounding decides if BN takes part at all, or FBN in a row."""
    for own in ('BN', 'FBN'):
        column = torch.tensor([name == own for name in case.names])
        step = 1e-6 * z.abs().max().clamp(min=1) * column
        tries = [ratios_of(case, z + way * step)[0] * column for way in (-1, 0, 1)]
        part = {tuple(p.any(1).tolist()) if own == 'FBN' else bool(p.any()) for p in tries}
        if case.source == 'logits' and len(part) > 1:
            return True
    return False


def ratios_of(case, z):
    """The case's ratios in float64, and the stretches of SparsestMax."""
    if case.source == 'logits':
        return solve(z, torch.tensor(case.radius).double())[:2]
    k = len(case.names)
    return (torch.eye(k).double()[[0, k - 1]] if case.source == 'selected' else z), torch.ones(1)


@pytest.fixture(autouse=True)
def _one_thread(_two_threads):
    """Uses one thread, since more cost more time than such maps take."""
    torch.set_num_threads(1)


@pytest.mark.compiler
def test_kernels_are_as_exact_as_rounding_allows(long, monkeypatch):
    run_cases(lambda case: check(case, ON_CPU, monkeypatch), cases(), 30, 600, 600, long)


def test_triton_kernels_are_as_exact_as_rounding_allows(long, monkeypatch):
    kernels = pytest.importorskip('ssn_mm.ops.backends.triton')
    monkeypatch.setattr(kernels.plans, '_PROGRAMS', 2)  # its interpreter takes long for each
    small = cases(most=4, dtypes=DTYPES[:3])  # and truncates to bfloat16
    run_cases(lambda case: check(case, ('triton',), monkeypatch), small, 6, 30, 300, long)


@pytest.mark.parametrize('backend', ON_CPU)
def test_a_dead_map_far_from_zero_keeps_its_gradient(backend, monkeypatch):
    """A map whose variance is 0, so that a gradient's slope is 1e12; a fuzzed case that failed."""
    case = Case(
        'ratios', (1, 1, 1, 2), ('IN', 'BN', 'LN'), 1, torch.bfloat16, 'contiguous', 'contiguous',
        ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), 0.0, False, False, False, True, 0.1, 1e-8, -1e4, 1.0, 0,
    )  # fmt: skip
    check(case, (backend,), monkeypatch)
