"""SSN under FSDP: FSDP2 trains as DDP does, FSDP1 is refused."""

import pytest
import torch
import torch.distributed as dist
from distributed import batch, net, on_ranks, ssn, train
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

from ssn_mm import SN, SSN, set_radius, set_selection
from ssn_mm.layers.sharded import is_sharded

WHOLE = StateDictOptions(full_state_dict=True)


def shard(model):
    mesh = init_device_mesh('cpu', (dist.get_world_size(),))
    fully_shard(ssn(model)[0], mesh=mesh)  # a unit of its own, the others belong to the root
    return fully_shard(model, mesh=mesh)


def compare_with_ddp(rank):
    sharded = shard(net())
    assert len(ssn(sharded)[0].ratio_logits.to_local()) == (rank < 2)
    counts = train(sharded, rank)
    replicated = DistributedDataParallel(net(), broadcast_buffers=False)
    assert counts == train(replicated, rank)
    assert counts[-1] == 6
    state = get_model_state_dict(sharded, options=WHOLE)  # rank 0 gets it
    for key, value in replicated.module.named_parameters() if rank == 0 else ():
        torch.testing.assert_close(state[key], value.data, msg=key)
    x, _ = batch(rank, 99)
    torch.testing.assert_close(sharded.eval()(x), replicated.module.eval()(x))


@pytest.mark.skipif(torch.__version__ < (2, 7), reason='FSDP2 of torch 2.6 trains on GPUs alone')
def test_a_sharded_training_equals_that_of_ddp(tmp_path):
    on_ranks(3, tmp_path, compare_with_ddp)  # a row on each of two ranks, none on the third


def carry_over(rank):
    trained = net()
    for layer in ssn(trained):
        nn.init.eye_(layer.ratio_logits)
    sharded = shard(net())
    set_model_state_dict(sharded, trained.state_dict(), options=WHOLE)
    selected = [layer.selected for layer in ssn(trained)]
    assert [layer.selected for layer in ssn(sharded)] == selected
    set_selection(sharded, 'relearn')
    assert {layer.selected for layer in ssn(sharded)} == {(None, None)}
    if rank == 0:  # printing asks no other process
        assert 'SSN(4, eps=1e-05, momentum=0.1, affine=True)' in repr(sharded)


def test_a_sharded_network_loads_relearns_and_prints(tmp_path):
    on_ranks(2, tmp_path, carry_over)


def load_another_order(rank):
    trained, order = net(), ('BN', 'IN', 'LN')
    nn.init.normal_(trained[4].ratio_logits, generator=torch.Generator().manual_seed(0))
    other = net()
    other[4] = SSN(4, order).double()
    sharded = shard(other)
    set_model_state_dict(sharded, trained.state_dict(), options=WHOLE)
    expected = trained[4].ratio_logits[:, [2, 0, 1]]
    torch.testing.assert_close(sharded[4].ratio_logits.full_tensor(), expected)
    other = net()
    other[4] = SSN(4, ('BN', 'IN', 'GN'), num_groups=2).double()
    with pytest.raises(RuntimeError, match=r'for the normalizers IN, LN, BN, .* BN, IN, GN'):
        set_model_state_dict(shard(other), trained.state_dict(), options=WHOLE)


def test_a_sharded_network_takes_logits_in_its_own_order(tmp_path):
    on_ranks(2, tmp_path, load_another_order)


def load_ssn_into_sn(rank):
    def with_sn():
        model = net()
        model[4] = SN(4).double()
        return model

    trained, plain = net(), with_sn()
    nn.init.normal_(trained[4].ratio_logits, generator=torch.Generator().manual_seed(0))
    set_radius(trained, 0.3)
    plain.load_state_dict(trained.state_dict(), strict=False)
    own = shard(net())
    set_model_state_dict(own, trained.state_dict(), options=WHOLE)
    for state, options in (
        (trained.state_dict(), StateDictOptions(full_state_dict=True, strict=False)),
        (own.state_dict(), StateDictOptions(strict=False)),
    ):
        sharded = shard(with_sn())
        set_model_state_dict(sharded, state, options=options)
        assert torch.equal(sharded[4].ratio_logits.full_tensor(), plain[4].ratio_logits)


def test_a_sharded_sn_takes_the_ratios_of_an_ssn(tmp_path):
    on_ranks(2, tmp_path, load_ssn_into_sn)


def build_on_meta(rank):
    with torch.device('meta'):
        model = net()
    shard(model).to_empty(device='cpu')
    for module in model.modules():
        if hasattr(module, 'reset_parameters'):
            module.reset_parameters()
    for layer, plain in zip(ssn(model), ssn(net()), strict=True):
        for (key, value), (_, expected) in zip(
            layer.state_dict().items(), plain.state_dict().items(), strict=True
        ):
            gathered = value.full_tensor() if is_sharded(value) else value
            assert torch.equal(gathered, expected), key


def test_a_network_sharded_on_meta_starts_with_reset_parameters(tmp_path):
    on_ranks(2, tmp_path, build_on_meta)


def refuse_fsdp1(rank):
    for by_name in (True, False):
        model = FullyShardedDataParallel(
            net(), device_id=torch.device('cpu'), use_orig_params=by_name
        )
        assert 'affine=True)' in repr(model)
        with pytest.raises(ValueError, match=r'FSDP1.* use torch\.distributed\.fsdp\.fully_shard'):
            train(model, rank)
        if by_name:
            with pytest.raises(ValueError, match=r'parameter \(2, K\), got \(\d+,\)'):
                ssn(model)[0].ratios()


def test_fsdp1_is_refused(tmp_path):
    on_ranks(2, tmp_path, refuse_fsdp1)
