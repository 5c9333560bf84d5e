"""Processes of a gloo group, forked from the test's own: nothing is imported anew."""

import datetime
import os
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _join(rank, work, world, store, seconds, args):
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    torch.manual_seed(rank)
    os.environ['LOCAL_RANK'] = str(rank)  # as torchrun says it
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


def on_ranks(world, folder, work, *args, seconds=120):
    """Runs ``work(rank, *args)`` on every rank; an error of one is raised here."""
    store = folder / f'store-{time.monotonic_ns()}'
    context = mp.start_processes(
        _join, (work, world, store, seconds, args), world, join=False, start_method='fork'
    )
    deadline = time.monotonic() + seconds
    try:
        while not context.join(timeout=1):
            assert time.monotonic() < deadline, f'{world} processes did not end in {seconds} s'
    finally:
        for process in context.processes:
            process.kill()


def gathered(value):
    """A picklable value of every rank, in their order."""
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
