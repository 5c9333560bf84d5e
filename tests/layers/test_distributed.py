"""SSN under DDP, without mmengine."""

from contextlib import nullcontext
from itertools import product

import pytest
import torch
from distributed import STEPS, batch, net, on_ranks, ssn, train
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ssn_mm import keep_selected, set_radius

WRAPPERS = {
    'plain': {},
    'static_graph': dict(static_graph=True),
    'find_unused_parameters': dict(find_unused_parameters=True),
}


def train_in_all_ways(rank):
    for name, accumulate in product(WRAPPERS, (1, 2)):
        model = DistributedDataParallel(net(), **WRAPPERS[name])
        # PyTorch's static graph and no_sync exclude each other, whatever the network (#143580)
        no_sync = nullcontext if name == 'static_graph' else model.no_sync
        counts = train(model, rank, accumulate, no_sync)
        assert counts[0] == 0
        assert len(set(counts)) > 3  # rows are selected in several steps
        assert counts[-2:] == [6, 6]  # a step after the last selection


@pytest.mark.parametrize('world', [2, 4])
def test_all_ranks_select_alike_to_the_last_bit_of_their_logits(tmp_path, world):
    """Before, while and after rows are selected, no parameter counts as unused."""
    on_ranks(world, tmp_path, train_in_all_ways)


def compare_with_one_process(rank):
    ours = DistributedDataParallel(net(sync=True))
    train(ours, rank)
    joint = net()
    optimizer = torch.optim.SGD(joint.parameters(), lr=0.1, momentum=0.9)
    for step in range(STEPS):
        set_radius(joint, step / (STEPS - 1))
        x, y = (torch.cat(parts) for parts in zip(batch(0, step), batch(1, step), strict=True))
        nn.functional.cross_entropy(joint(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        keep_selected(joint)
    assert [m.selected for m in ssn(ours)] == [m.selected for m in ssn(joint)]
    for key, value in joint.state_dict().items():
        torch.testing.assert_close(ours.module.state_dict()[key], value, msg=key)


def test_a_training_with_joint_statistics_equals_that_of_one_process(tmp_path):
    on_ranks(2, tmp_path, compare_with_one_process)
