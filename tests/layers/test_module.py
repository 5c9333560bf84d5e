"""SSN, SN, SyncSSN and MixedNorm do what every norm of ``torch.nn`` does."""

import copy
import io
import pickle

import pytest
import references
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.nn.utils import parametrize

from ssn_mm import SN, SSN, keep_selected, set_radius, set_selection
from ssn_mm.deploy import freeze
from ssn_mm.layers import MixedNorm, SyncSSN
from ssn_mm.ops import NORMALIZERS, circumscribed_radius

MEASURED = tuple(name for name in NORMALIZERS if name != 'FBN')
KINDS = {
    'SSN': lambda **options: SSN(6, MEASURED, num_groups=3, **options),
    'SSN with FBN': lambda **options: SSN(6, ('LN', 'FBN'), update_fbn=True, **options),
    'SN': lambda **options: SN(6, **options),
    'SyncSSN': lambda **options: SyncSSN(6, ('LN', 'IN'), **options),
    'MixedNorm': lambda **options: MixedNorm(6, 'BN', 'GN', num_groups=3, **options),
}
X = torch.randn(4, 6, 5, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def select(layer, *names):
    with torch.no_grad():
        layer.ratio_logits.copy_(
            torch.eye(len(MEASURED))[[layer.normalizers.index(name) for name in names]]
        )
    return layer


def equal(a, b):
    return {k: v.tolist() for k, v in a.items()} == {k: v.tolist() for k, v in b.items()}


def test_meta_to_empty_and_reset_give_a_new_layer(kind):
    with torch.device('meta'):
        layers = [kind()]
    for layer in (*layers, kind(device='meta')):
        layer = layer.to_empty(device='cpu')
        for tensor in (*layer.parameters(), *layer.buffers()):
            tensor.data.fill_(7)
        layer.reset_parameters()
        assert equal(layer.state_dict(), kind().state_dict())
        assert torch.equal(layer(X), kind()(X))


def test_resetting_forgets_the_training_and_its_selection():
    layer, new = KINDS['SSN'](), KINDS['SSN']()
    set_radius(layer, 1)
    step = torch.optim.SGD(layer.parameters(), 0.1)
    for _ in range(3):
        layer(X).pow(3).sum().backward()
        step.step()
        keep_selected(layer)
    layer(X)
    layer.reset_running_stats()
    assert (layer.running_mean == 0).all()
    assert (layer.running_var == 1).all()
    assert layer.num_batches_tracked == 0
    assert None not in layer.selected
    layer.reset_parameters()
    keep_selected(layer)
    assert equal(layer.state_dict(), new.state_dict())
    assert torch.equal(layer(X), new(X))


@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.bfloat16])
def test_device_and_dtype_are_those_of_parameters_and_statistics(kind, dtype):
    layer = kind(device='cpu', dtype=dtype)
    floats = [t for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point()]
    assert {t.dtype for t in floats} == {dtype}
    assert {t.dtype for t in kind(device='meta', dtype=dtype).parameters()} == {dtype}
    assert {t.device.type for t in kind(device='meta').state_dict().values()} == {'meta'}
    x = X.to(dtype).requires_grad_()
    y = layer(x)
    assert y.dtype is dtype
    y.sum().backward()
    assert layer.weight.grad.dtype is dtype
    tolerance = dict(rtol=2e-2, atol=5e-2) if dtype.itemsize == 2 else {}
    torch.testing.assert_close(y.double(), kind().double()(x.double()), **tolerance)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rows_are_one_hot_at_the_circumscribed_radius_in_every_dtype(dtype):
    for names in (NORMALIZERS[:2], NORMALIZERS[:3], NORMALIZERS):
        layer = SSN(6, names, num_groups=3, dtype=dtype)
        nn.init.normal_(layer.ratio_logits)
        set_radius(layer, circumscribed_radius(len(names)))
        assert None not in layer.selected


@pytest.mark.parametrize('name', ['BN', 'IN'])
def test_without_running_statistics_it_measures_the_batch_as_batch_norm_does(name):
    layer = select(SSN(6, MEASURED, num_groups=3, track_running_stats=False), name, name)
    plain = references.torch_norm(name, 6, 2, 3)
    if name == 'BN':
        plain = nn.BatchNorm2d(6, track_running_stats=False)
    assert layer.state_dict().keys() - {'ratio_logits', 'radius', 'normalizer_codes'} == {
        'weight',
        'bias',
    }
    assert layer.running_mean is layer.running_var is layer.num_batches_tracked is None
    for mode in (True, False):
        torch.testing.assert_close(layer.train(mode)(X), plain.train(mode)(X))
    assert 'track_running_stats=False' in repr(layer)
    torch.testing.assert_close(freeze(copy.deepcopy(layer))(X), layer(X))
    with pytest.raises(RuntimeError, match=r'Unexpected key.*running_mean'):
        layer.load_state_dict(SSN(6, MEASURED, num_groups=3).state_dict())


def test_without_running_statistics_a_pair_with_bn_cannot_be_frozen():
    layer = select(SSN(6, MEASURED, num_groups=3, track_running_stats=False), 'BN', 'IN')
    layer(X)
    with pytest.raises(ValueError, match='no running statistics'):
        freeze(layer)


def test_on_meta_everything_that_reads_no_values_works(monkeypatch):
    monkeypatch.delenv('SSN_MM_BACKEND', raising=False)  # one that is named is for its own devices
    with torch.device('meta'):
        model = nn.Sequential(nn.Conv2d(3, 6, 3), SSN(6), SN(6), MixedNorm(6, 'BN', 'LN'))
        x = torch.empty(2, 3, 9, 9)
    assert 'SSN(6, eps=1e-05, momentum=0.1, affine=True)' in repr(model)
    set_radius(model, 0.5)
    y = model(x)
    assert (y.shape, y.device.type) == ((2, 6, 7, 7), 'meta')
    keep_selected(model)
    set_selection(model, 'relearn')
    assert model[1].selected == model[2].selected == (None, None)
    with pytest.raises(ValueError, match='1 SSN layers have not selected'):
        set_selection(model, 'fix')
    trained = SSN(6).to('meta')  # as a training does that gives its memory back
    keep_selected(trained)


def test_fake_tensors_are_printed_and_kept_as_meta_ones_are():
    with FakeTensorMode():
        model = nn.Sequential(SSN(6), SN(6))
        set_radius(model, 0.5)
        model(torch.empty(2, 6, 9, 9)).sum().backward()
        keep_selected(model)
    assert 'SSN(6, eps=1e-05, momentum=0.1, affine=True)' in repr(model)
    assert model[0].selected == model[1].selected == (None, None)


def test_a_layer_built_in_inference_mode_evaluates_prints_and_starts_a_training_as_a_copy(kind):
    with torch.inference_mode():
        layer = kind().eval()
        set_radius(layer, 0.5)
        y = layer(X)
        repr(layer), getattr(layer, 'selected', None)
        keep_selected(layer)
    with torch.no_grad():
        torch.testing.assert_close(layer(X), y)
        state = {key: value.clone() for key, value in layer.state_dict().items()}
    trained = kind()
    trained.load_state_dict(state)
    trained(X).sum().backward()
    keep_selected(trained)


def test_a_layer_used_in_inference_mode_goes_on_to_train():
    layer, plain = KINDS['SSN'](), KINDS['SSN']()
    for each in (layer, plain):
        set_radius(each, 0.9)
    with torch.inference_mode():
        layer.eval()(X)
        set_radius(layer, 0.9)
        keep_selected(layer)
    keep_selected(plain)
    for each in (layer, plain):
        each.train()(X).pow(3).sum().backward()
        torch.optim.SGD(each.parameters(), 0.1).step()
        keep_selected(each)
    assert equal(layer.state_dict(), plain.state_dict())


def test_copies_and_pickles_in_the_middle_of_a_training_go_on_as_it_does(kind):
    layer = kind()
    set_radius(layer, 0.4)
    layer(X).pow(3).sum().backward()
    copies = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    copies += [torch.load(file, weights_only=False), copy.deepcopy(layer).share_memory()]
    for each in (layer, *copies):
        each.zero_grad()
        each(X).pow(3).sum().backward()
        torch.optim.SGD(each.parameters(), 0.1).step()
        keep_selected(each)
    for each in copies:
        assert equal(each.state_dict(), layer.state_dict())


@pytest.mark.parametrize('shape', [(0, 6, 5, 5), (2, 6, 0, 5), (0, 6), (2, 6, 0), (2, 6, 3, 0, 4)])
@pytest.mark.parametrize('mode', [True, False])
@pytest.mark.filterwarnings('error')
def test_maps_without_elements_pass_as_through_batch_norm(kind, shape, mode):
    layers = [kind().train(mode)]
    if isinstance(layers[0], SSN):
        layers.append(kind().train(mode))
        with torch.no_grad():
            layers[1].ratio_logits.copy_(
                torch.eye(len(MEASURED))[[-1, -1], : len(layers[1].normalizers)]
            )
            layers[1].ratio_logits[:, 0] = 1 - layers[1].ratio_logits[:, 1:].sum(1)
        set_radius(layers[1], 0.0)
    for layer in layers:
        if isinstance(layer, SSN):
            layer.selection.has_radius = True
        x = torch.randn(shape, requires_grad=True)
        y = layer(x)
        assert y.shape == shape
        y.sum().backward()
        assert x.grad.shape == shape
        assert (layer.weight.grad == 0).all()
        if layer.running_var is not None:
            assert (layer.running_mean == 0).all()
            assert (layer.running_var == 1).all()


def test_weights_may_be_parametrized_shared_and_hooked(kind):
    class Positive(nn.Module):
        def forward(self, t):
            return t.exp()

    layer, plain, seen = kind(), kind(), []
    parametrize.register_parametrization(layer, 'weight', Positive())
    other = kind()
    other.bias = layer.bias
    layer.register_forward_hook(lambda module, args, y: seen.append(y))
    layer.register_forward_pre_hook(lambda module, args: (2 * args[0],))
    with torch.no_grad():
        plain.weight.fill_(torch.e)
        layer.bias.fill_(3)
        plain.bias.fill_(3)
    y = layer(X)
    torch.testing.assert_close(y, plain(2 * X))
    assert seen[0] is y
    (y.sum() + other(X).sum()).backward()
    assert layer.parametrizations.weight.original.grad is not None
    torch.testing.assert_close(layer.bias.grad, torch.full((6,), 200.0))


def test_logits_may_be_parametrized():
    class Centred(nn.Module):
        def forward(self, z):
            return z - z.mean(-1, keepdim=True)

    layer = KINDS['SSN']()
    parametrize.register_parametrization(layer, 'ratio_logits', Centred())
    set_radius(layer, 0.4)
    layer(X).pow(3).sum().backward()
    assert layer.parametrizations.ratio_logits.original.grad.isfinite().all()
    assert 'affine=True' in repr(layer)
