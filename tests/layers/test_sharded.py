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

from ssn_mm import set_choices

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


def test_a_sharded_training_equals_that_of_ddp(tmp_path):
    on_ranks(3, tmp_path, compare_with_ddp)  # a row on each of two ranks, none on the third


def carry_over(rank):
    trained = net()
    for layer in ssn(trained):
        nn.init.eye_(layer.ratio_logits)
    sharded = shard(net())
    set_model_state_dict(sharded, trained.state_dict(), options=WHOLE)
    chosen = [layer.selected for layer in ssn(trained)]
    assert [layer.selected for layer in ssn(sharded)] == chosen
    set_choices(sharded, 'relearn')
    assert {layer.selected for layer in ssn(sharded)} == {(None, None)}
    if rank == 0:  # printing asks no other process
        assert 'SSN(4, eps=1e-05, momentum=0.1, affine=True)' in repr(sharded)


def test_a_sharded_network_loads_relearns_and_prints(tmp_path):
    on_ranks(2, tmp_path, carry_over)


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
