"""Batch norm's statistics, measured over batches: the layers' arithmetic, and processes."""

import multiprocessing
import random

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from ssn_mm import SN, SSN, keep_selected, set_radius
from ssn_mm.engine.recalibration import measure_statistics

KINDS = ('bn', 'sn', 'competing', 'selected_bn', 'mixed')
SELECTIONS = dict(selected_bn=('BN', 'BN'), mixed=('LN', 'BN'), selected_in=('IN', 'IN'))


class Norms(nn.Module):
    """Every kind of layer on the same input, and batch norm behind each."""

    def __init__(self):
        super().__init__()
        self.first = nn.ModuleDict(dict(bn=nn.BatchNorm2d(4), sn=SN(4), competing=SSN(4)))
        for name, selection in SELECTIONS.items():
            layer = self.first[name] = SSN(4)
            for row, own in zip(layer.ratio_logits, selection, strict=True):
                row.data.copy_(torch.tensor([float(n == own) for n in layer.normalizers]))
        self.dropout = nn.Dropout(0.5)
        self.second = nn.BatchNorm2d(4)

    def forward(self, x):
        return sum(self.second(self.dropout(layer(x))) for layer in self.first.values())


def batches(mean=0.0, sizes=(3, 3, 3)):
    """Whose means and scales differ."""
    generator = torch.Generator().manual_seed(1)
    return [
        mean + index + (index + 1) * torch.randn(size, 4, 5, 6, generator=generator)
        for index, size in enumerate(sizes)
    ]


def union_moments(maps):
    values = torch.cat([m.double().transpose(0, 1).flatten(1) for m in maps], 1)  # (C, all)
    return values.mean(1), values.var(1)


def assert_moments(layer, maps, **tolerance):
    mean, var = union_moments(maps)
    torch.testing.assert_close(layer.running_mean.double(), mean, **tolerance)
    torch.testing.assert_close(layer.running_var.double(), var, **tolerance)


@pytest.mark.parametrize('mean', [0.0, 1e4])
@pytest.mark.parametrize('sizes', [(3, 3, 3), (5, 1, 2)])
def test_statistics_are_the_moments_of_all_batches_together(mean, sizes):
    model, given = Norms(), batches(mean, sizes)
    names = measure_statistics(model, given, model)
    assert names == [*(f'first.{kind}' for kind in KINDS), 'second']
    for kind in KINDS:
        assert_moments(model.first[kind], given, rtol=1e-6, atol=1e-6)


def test_deeper_layers_see_what_the_batches_own_statistics_make_of_the_input():
    model, given = nn.Sequential(nn.BatchNorm2d(4), nn.Dropout(0.5), nn.BatchNorm2d(4)), batches()
    measure_statistics(model, given, model)
    seen = [nn.functional.batch_norm(x.double(), None, None, training=True) for x in given]
    assert_moments(model[2], seen, rtol=1e-5, atol=1e-6)  # dropout would double the variance


def test_layers_called_by_keyword_are_measured():
    model, given = nn.ModuleList([SSN(4), nn.BatchNorm2d(4)]), batches()

    def forward(x):
        model[0](x=x)
        model[1](input=x)

    assert measure_statistics(model, given, forward) == ['0', '1']
    for layer in model:
        assert_moments(layer, given)


def test_a_mean_of_variances_would_be_another():
    """So the tests above are able to fail."""
    model, given = nn.BatchNorm2d(4), batches()
    measure_statistics(model, given, model)
    averaged = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in given]).mean(0)
    assert (model.running_var > 1.05 * averaged).all()


def test_nothing_but_the_statistics_of_layers_that_use_batch_norm_changes():
    model = Norms()
    set_radius(model, 0.7)
    keep_selected(model)
    model.first['held'] = nn.BatchNorm2d(4).eval()  # as norm_eval does
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    selected = [model.first[name].selected for name in SELECTIONS]
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()

    def forward(x):
        random.random(), np.random.rand(), torch.rand(1)
        return model(x)

    measure_statistics(model, batches(), forward)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    measured = [*(f'first.{kind}' for kind in KINDS), 'second']
    assert changed == {f'{name}.running_{kind}' for name in measured for kind in ('mean', 'var')}
    assert [m.training for m in model.modules()] == modes
    assert [model.first[name].selected for name in SELECTIONS] == selected
    assert states[0] == random.getstate()
    assert states[1] == np.random.get_state()[1].tolist()
    assert torch.equal(states[2], torch.get_rng_state())
    assert all(m.track_running_stats for m in model.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize('error', [KeyboardInterrupt, RuntimeError])
def test_an_error_or_an_interrupt_leaves_everything_as_it_was(error):
    model = Norms()
    before = {key: value.clone() for key, value in model.state_dict().items()}

    def forward(x):
        model(x)
        raise error

    with pytest.raises(error):
        measure_statistics(model, batches(), forward)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all(m.training for m in model.modules())
    model(batches()[0])
    assert model.first['bn'].num_batches_tracked == 1


def test_a_network_without_batch_norm_is_not_run():
    model = nn.Sequential(nn.GroupNorm(2, 4), SSN(4, normalizers=('IN', 'LN')), Norms().first)
    for layer in model[2].values():
        layer.eval()
    assert measure_statistics(model, batches(), lambda x: 1 / 0) == []


def test_values_that_are_not_finite_and_no_batches_are_refused():
    model = Norms()
    with pytest.raises(ValueError, match='no batch'):
        measure_statistics(model, [], model)
    broken = batches()
    broken[1][0, 2] = float('nan')
    with pytest.raises(ValueError, match=r'first\.bn sees values that are not finite'):
        measure_statistics(model, broken, model)
    assert not model.first['bn'].running_mean.any()


def measure_part(rank, folder):
    torch.set_num_threads(1)  # threads do not survive a fork
    init = f'file://{folder}/store'
    dist.init_process_group('gloo', init_method=init, rank=rank, world_size=2)
    torch.manual_seed(0)
    model = Norms()
    measure_statistics(model, batches(sizes=(3, 2, 4, 3))[rank::2], model)
    torch.save(model.state_dict(), folder / f'{rank}.pth')


def test_processes_agree_to_the_bit_and_equal_one_process_with_all_batches(tmp_path):
    fork = multiprocessing.get_context('fork')
    workers = [fork.Process(target=measure_part, args=(rank, tmp_path)) for rank in range(2)]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        assert [worker.exitcode for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    model = Norms()
    measure_statistics(model, batches(sizes=(3, 2, 4, 3)), model)
    first, second = (torch.load(tmp_path / f'{rank}.pth') for rank in range(2))
    for key, value in model.state_dict().items():
        assert torch.equal(first[key], second[key]), key
        torch.testing.assert_close(first[key], value, rtol=1e-6, atol=1e-6)
