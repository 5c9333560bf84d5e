"""Processes of a gloo group, and a network that they train."""

import datetime
import importlib.util
import inspect
import os
import pickle
import sys
import time
from contextlib import nullcontext
from types import ModuleType

import forked
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from ssn_mm import SSN, keep_selected, set_radius
from ssn_mm.layers.sharded import whole

STEPS = 14


def _join(rank, module, file, job, world, store, seconds):
    torch.set_num_threads(1)  # beside the other processes
    torch.manual_seed(rank)
    os.environ['LOCAL_RANK'] = str(rank)  # as torchrun says it
    _import_as(module, file)
    work, args = pickle.loads(job)
    dist.init_process_group(
        'gloo',
        init_method=f'file://{store}',
        rank=rank,
        world_size=world,
        timeout=datetime.timedelta(seconds=seconds),
    )
    try:
        work(rank, *args)
        dist.barrier()  # nobody leaves while another still talks to it
    finally:
        dist.destroy_process_group()


def _import_as(name, file):
    """Imports a file of tests under the name that pytest has given it."""
    parents = name.split('.')[:-1]
    for end in range(len(parents)):
        sys.modules.setdefault('.'.join(parents[: end + 1]), ModuleType(parents[end]))
    spec = importlib.util.spec_from_file_location(name, file)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


def on_ranks(world, folder, work, *args, seconds=120):
    """Runs ``work(rank, *args)`` of a file of tests on every rank; an error of one is raised here.

    The processes are forks of one that has everything imported and never ran autograd, whose
    threads do not survive a fork.
    """
    store = folder / f'store-{time.monotonic_ns()}'
    given = (work.__module__, inspect.getsourcefile(work), pickle.dumps((work, args)))
    forked.start_server()
    context = mp.start_processes(
        _join, (*given, world, store, seconds), world, join=False, start_method='forkserver'
    )
    deadline = time.monotonic() + seconds
    try:
        while not context.join(timeout=1):
            assert time.monotonic() < deadline, f'{world} processes did not end in {seconds} s'
    finally:
        for process in context.processes:
            process.kill()


def gathered(value):
    """A picklable value of every rank, in their order; all_gather_object needs NumPy."""
    own = torch.tensor(list(pickle.dumps(value)), dtype=torch.uint8)
    sizes = [torch.zeros((), dtype=torch.long) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, torch.tensor(len(own)))
    most = max(map(int, sizes))
    texts = [own.new_empty(most) for _ in sizes]
    dist.all_gather(texts, nn.functional.pad(own, (0, most - len(own))))
    return [pickle.loads(bytes(t.tolist())) for t in texts]  # which stops at its own end


def net(sync=False):
    """Three layers, which select one after the other: r_c is 0.71, 0.82 and 0.87."""
    torch.manual_seed(0)  # the same on every rank
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), SSN(4, ('IN', 'BN'), sync=sync), nn.ReLU(),
        nn.Conv2d(4, 4, 3), SSN(4, sync=sync), nn.ReLU(),
        nn.Conv2d(4, 4, 3), SSN(4, ('IN', 'LN', 'BN', 'GN'), num_groups=2, sync=sync), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    ).double()  # fmt: skip


def batch(rank, step, size=4):
    generator = torch.Generator().manual_seed(100 * step + rank)
    x = torch.randn(size, 3, 8, 8, generator=generator).double()
    return x * (1 + rank), torch.randint(0, 2, (size,), generator=generator)


def ssn(model):
    return [m for m in model.modules() if isinstance(m, SSN)]


def train(model, rank, accumulate=1, no_sync=nullcontext):
    """Trains while the radius grows to 1, ranks alike; returns the selected rows of each step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    counts = []
    for step in range(STEPS):
        set_radius(model, step / (STEPS - 1))
        for part in range(accumulate):
            with no_sync() if part + 1 < accumulate else nullcontext():
                x, y = batch(rank, accumulate * step + part)
                (nn.functional.cross_entropy(model(x), y) / accumulate).backward()
        optimizer.step()
        optimizer.zero_grad()
        keep_selected(model)
        state = [(layer.selected, whole(layer.ratio_logits).tolist()) for layer in ssn(model)]
        assert all(other == state for other in gathered(state)), step
        counts.append(sum(name is not None for selected, _ in state for name in selected))
    return counts
