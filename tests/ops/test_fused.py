"""What compilers, tracers and autograd see of the operator."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from backends import ON_CPU
from flat_norms import sparse_switch_norm
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from ssn_mm import SSN, keep_selected, set_radius
from ssn_mm.ops import switch_norm
from ssn_mm.ops.backends import cpp


def layer(channels=6, radius=0.3):
    ssn = SSN(channels)
    set_radius(ssn, radius)
    with torch.no_grad():
        ssn.ratio_logits.add_(torch.randn(2, 3) / 4)
    return ssn


@pytest.mark.parametrize('kernels', ON_CPU)
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('shape', [(2, 6, 5, 4), (3, 6)])
@pytest.mark.parametrize('bn', ['BN', 'FBN'])
def test_the_operator_keeps_the_rules_of_registered_operators(kernels, training, shape, bn):
    measures = training and bn == 'BN'
    running = (None, None) if measures else (torch.randn(6), torch.rand(6) + 1)
    parameters = [torch.randn(s, requires_grad=True) for s in (shape, (2, 2), 6, 6)]
    x, logits, weight, bias = parameters
    names = f'LN,{bn}'
    options = ('logits', names, 1e-5, 32, False, kernels)
    arguments = (x, logits, weight, bias, torch.tensor(0.3), *running, *options)
    checked = torch.library.opcheck(torch.ops.ssn_mm.switch_norm.default, arguments)
    assert set(checked.values()) == {'SUCCESS'}


@pytest.mark.parametrize('kernels', [*ON_CPU, 'triton'])
def test_a_program_from_before_there_was_fbn_gives_the_same_numbers(kernels):
    if kernels == 'triton':
        pytest.importorskip('ssn_mm.ops.backends.triton')
    x, logits, weight = (torch.randn(s, requires_grad=True) for s in ((2, 6, 5, 4), (2, 3), 6))
    stats, dy = (torch.randn(6), torch.rand(6) + 1), torch.randn(2, 6, 5, 4)

    def run(names):
        given = (
            x,
            logits,
            weight,
            None,
            torch.tensor(0.3),
            *stats,
            'logits',
            names,
            1e-5,
            2,
            False,
        )
        y, *_, batch = torch.ops.ssn_mm.switch_norm(*given, kernels)
        assert batch.shape == (2, 0)
        return y, *torch.autograd.grad(y, (x, logits, weight), dy)

    torch.testing.assert_close(run('LN,BN,GN'), run('LN,FBN,GN'), rtol=0, atol=0)


# C++ for plain operators takes long
PLAIN = pytest.param('reference', 'inductor', marks=pytest.mark.long)


@pytest.mark.compiler
@pytest.mark.parametrize(
    ('kernels', 'backend'), [('reference', 'aot_eager'), PLAIN, *((k, 'inductor') for k in ON_CPU)]
)
def test_a_compiled_layer_is_the_layer_in_one_graph(kernels, backend, monkeypatch):
    monkeypatch.setenv('SSN_MM_BACKEND', kernels)
    torch.compiler.reset()
    ssn, x = layer(), torch.randn(2, 6, 5, 4, requires_grad=True)
    dy = torch.randn(2, 6, 5, 4)

    def run(function):
        y = function(x)
        return y, *torch.autograd.grad(y, (x, *ssn.parameters()), dy)

    for mode in (True, False):
        ssn.train(mode)
        compiled = torch.compile(ssn, fullgraph=True, backend=backend)
        torch.testing.assert_close(run(compiled), run(ssn), rtol=1e-5, atol=1e-5)


def test_a_program_and_a_graph_hold_one_operator():
    ssn, x = layer().eval(), torch.randn(2, 6, 5, 4)
    program = torch.export.export(ssn, (x,), strict=False)  # the default from torch 2.7 on
    called = [n.target for n in program.graph.nodes if 'ssn_mm' in str(n.target)]
    assert called == [torch.ops.ssn_mm.switch_norm.default]
    torch.testing.assert_close(program.module()(x), ssn(x))
    graph = make_fx(ssn)(x)
    called = [n.target for n in graph.graph.nodes if 'ssn_mm' in str(n.target)]
    assert called == [torch.ops.ssn_mm.switch_norm.default]
    other = torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(graph(other), ssn(other))


@pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning')
def test_a_trace_holds_plain_steps():
    ssn = layer().eval()
    traced = torch.jit.trace(ssn, (torch.randn(2, 6, 5, 4),))
    assert 'ssn_mm' not in traced.code
    other = torch.randn(2, 6, 5, 4)
    torch.testing.assert_close(traced(other), ssn(other))


def test_fake_tensors_have_the_shape_and_layout_of_the_result():
    ssn = layer()
    x = torch.randn(2, 6, 5, 4).to(torch.bfloat16, memory_format=torch.channels_last)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        y = ssn(mode.from_tensor(x))
    assert (y.shape, y.stride(), y.dtype) == (x.shape, x.stride(), x.dtype)


@pytest.mark.parametrize('kernels', ON_CPU)
def test_only_the_input_is_saved_at_full_size(kernels, monkeypatch):
    monkeypatch.setenv('SSN_MM_BACKEND', kernels)
    x, saved = torch.randn(2, 6, 20, 20, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        layer()(x)
    large = [t for t in saved if t.numel() >= x.numel() / 4]
    assert [t.data_ptr() for t in large] == [x.data_ptr()]


@pytest.mark.parametrize('kernels', ON_CPU)
@pytest.mark.parametrize('radius', [None, 0.0, 0.45, 0.7])
def test_second_derivatives_are_exact(kernels, radius, monkeypatch):
    monkeypatch.setenv('SSN_MM_BACKEND', kernels)
    radius = radius if radius is None else torch.tensor(radius)

    def function(x, logits, weight):
        if radius is None:
            return switch_norm(x, logits, names, weight, training=True, **stats)
        return sparse_switch_norm(x, logits, radius, names, weight, training=True, **stats)[0]

    inputs = [torch.randn(s).double().requires_grad_() for s in ((2, 3, 3, 2), (2, 4), (3,))]
    names, stats = ('IN', 'LN', 'BN', 'FBN'), torch.rand(2, 3).double() + 0.5
    stats = dict(running_mean=stats[0], running_var=stats[1])
    if radius is None:
        inputs[1] = inputs[1].detach().softmax(1).requires_grad_()
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize('kernels', ON_CPU)
@pytest.mark.parametrize('radius', [0.0, 0.3, 0.45, 0.6, 0.7, 0.9])
def test_folded_sparsestmax_equals_the_ratios_apart(kernels, radius, monkeypatch):
    monkeypatch.setenv('SSN_MM_BACKEND', kernels)
    radius = torch.tensor(radius)
    for logits in (
        torch.ones(2, 5),
        torch.tensor([[1.0, 1, 0, 0, 1], [0, 2, 2, 2, 2]]),
        torch.randn(2, 5),
    ):
        inputs = [logits.double(), torch.randn(3, 8, 5, 4).double(), torch.randn(8).double()]
        inputs = [t.requires_grad_() for t in inputs]
        dy = torch.randn(3, 8, 5, 4).double()

        def run(backend, inputs=inputs, dy=dy):
            monkeypatch.setenv('SSN_MM_BACKEND', backend)
            logits, x, weight = inputs
            names, stats = ('IN', 'GN', 'LN', 'BN', 'FBN'), (torch.zeros(8), torch.ones(8))
            options = dict(training=True, num_groups=2, momentum=0.0)
            y, ratios = sparse_switch_norm(
                x, logits, radius, names, weight, None, *stats, **options
            )
            return y, ratios, *torch.autograd.grad(y, inputs, dy)

        torch.testing.assert_close(run(kernels), run('reference'), rtol=1e-6, atol=1e-6)


def test_logits_of_one_are_no_selection():
    ssn = SSN(6)  # all of them are 1 at the start
    for radius in (0.0, 0.3):
        set_radius(ssn, radius)
        ssn(torch.randn(2, 6, 4, 4))
        keep_selected(ssn)
        assert ssn.selection.names is None
        assert ssn.ratio_logits.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_a_selection_known_to_the_layer_changes_nothing_but_the_work():
    knows, looks = layer(radius=1.0), layer(radius=1.0)
    looks.load_state_dict(knows.state_dict())
    keep_selected(knows)
    assert knows.selection.names == knows.selected
    assert not (looks.ratio_logits == 1).any()  # one-hot by its radius alone
    x, dy = torch.randn(4, 6, 5, 4, requires_grad=True), torch.randn(4, 6, 5, 4)

    def run(ssn):
        y = ssn(x)
        return y, *torch.autograd.grad(y, (x, *ssn.parameters()), dy)

    torch.testing.assert_close(run(knows), run(looks))
    with torch.no_grad():
        for ssn in (knows, looks):
            ssn.ratio_logits.fill_(1)
            set_radius(ssn, 0.1)
    torch.testing.assert_close(run(knows), run(looks))  # it notices that logits were changed


def test_a_layer_that_has_selected_takes_an_empty_batch():
    ssn = layer(radius=1.0)
    keep_selected(ssn)
    y = ssn(torch.randn(0, 6, 4, 4, requires_grad=True))
    y.sum().backward()
    assert y.shape == (0, 6, 4, 4)
    assert ssn.ratio_logits.grad.tolist() == [[0, 0, 0], [0, 0, 0]]


def test_a_tensor_that_kernels_do_not_take_is_refused(monkeypatch):
    monkeypatch.setenv('SSN_MM_BACKEND', 'cpu')
    with pytest.raises(RuntimeError, match=r"'cpu' takes tensors with elements, got \(0, 3"):
        switch_norm(torch.randn(0, 3, 4, 4), torch.full((2, 3), 1 / 3), training=True)


COMPILER = """#!/bin/sh
# writes the library that was compiled before, slowly, as a compiler does
while [ "$1" != -o ]; do test "$1" = -shared && shared=1; shift; done
test "$shared" || exec touch "$2"
head -c 9999 {library} > "$2"
sleep 0.5
cat {library} > "$2"
"""


@pytest.mark.compiler
def test_kernels_are_built_once_and_whole(tmp_path, run_script):
    script, compiler = tmp_path / 'build.py', tmp_path / 'compiler'
    script.write_text(
        'from ssn_mm.ops.backends import cpp; print(not cpp.why_not_built(), cpp.why_not_built())'
    )
    compiler.write_text(COMPILER.format(library=cpp._build()))
    compiler.chmod(0o755)

    def start(cxx):
        own = dict(XDG_CACHE_HOME=str(tmp_path / 'cache'), CXX=str(cxx))
        return run_script(script, cwd=tmp_path, **own)[1].splitlines()[-1].strip()

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(start, [compiler] * 2)) == ['True', 'True']
    built = list((tmp_path / 'cache/ssn_mm').iterdir())
    assert [p.suffix for p in built] == ['.so']
    assert start('false').startswith('False')  # is another library
    assert list((tmp_path / 'cache/ssn_mm').iterdir()) == built
