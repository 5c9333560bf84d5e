"""A converted network trains as any other: in five lines, under DDP, FSDP2, AMP and a compiler."""

import pytest
import torch
import torch.distributed as dist
from distributed import on_ranks
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from ssn_mm import convert_norms, keep_selected, let_go, set_radius
from ssn_mm.layers import ssn_layers
from ssn_mm.layers.sharded import whole

STEPS, LET_GO = 14, 3


def network():
    """A network with batch norms whose statistics were measured, converted."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3), nn.GroupNorm(4, 8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2), nn.BatchNorm1d(2),
    )  # fmt: skip
    model(torch.randn(8, 3, 8, 8))
    return convert_norms(model)


def train(model, rank=0, context=None):
    """Returns how many rows are one-hot after each step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    counts = []
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(100 * step + rank)
        images, labels = torch.randn(4, 3, 8, 8, generator=generator), torch.tensor([0, 1, 0, 1])
        images = images.to(next(model.parameters()).dtype)
        set_radius(model, step / (STEPS - 1))
        if step == LET_GO:
            let_go(model, 0.6)
        optimizer.zero_grad()
        with context or torch.enable_grad():
            scores = model(images)
        nn.functional.cross_entropy(scores.to(images), labels).backward()
        optimizer.step()
        keep_selected(model)
        names = [name for _, layer in ssn_layers(model) for name in layer.selected]
        counts.append(len(names) - names.count(None))
    assert counts[:LET_GO] == [6] * LET_GO
    assert counts[LET_GO] < 6
    assert counts[-1] == 6
    return counts


def test_it_trains_and_selects():
    train(network())


def test_it_trains_in_mixed_precision():
    train(network(), context=torch.autocast('cpu', torch.bfloat16))


def test_it_trains_compiled():
    plain, compiled = network().double(), network().double()
    assert train(plain) == train(torch.compile(compiled, backend='aot_eager'))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], value, atol=1e-6, rtol=0)


def train_replicated_and_sharded(rank):
    replicated = DistributedDataParallel(network(), broadcast_buffers=False)
    counts = train(replicated, rank)
    if torch.__version__ < (2, 7):  # FSDP2 of torch 2.6 trains on GPUs alone
        return
    sharded = fully_shard(network(), mesh=init_device_mesh('cpu', (dist.get_world_size(),)))
    assert train(sharded, rank) == counts
    ours = dict(ssn_layers(sharded))
    for name, layer in ssn_layers(replicated.module):
        torch.testing.assert_close(whole(ours[name].ratio_logits), layer.ratio_logits.data)


def test_it_trains_on_several_processes_and_sharded(tmp_path):
    on_ranks(2, tmp_path, train_replicated_and_sharded)


def test_a_sharded_network_is_converted_before_it_is_sharded(tmp_path):
    on_ranks(1, tmp_path, refuse_sharded)


def refuse_sharded(rank):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    fully_shard(model, mesh=init_device_mesh('cpu', (1,)))
    with pytest.raises(ValueError, match='it is sharded; convert before fully_shard'):
        convert_norms(model)
