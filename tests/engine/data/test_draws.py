import random

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader, RandomSampler, Sampler

from ssn_mm.engine.data.draws import TrainingReader


class Global(Sampler):
    """Draws by all three global generators while it goes."""

    def __init__(self, data):
        self.data = data

    def __iter__(self):
        for _ in self.data:
            yield int(random.random() * 3) + int(np.random.rand() * 2) + int(torch.rand(1) * 2)

    def __len__(self):
        return len(self.data)


SAMPLERS = {
    'endless': lambda data, seed: InfiniteSampler(data, shuffle=True, seed=seed),
    'default': lambda data, seed: DefaultSampler(data, shuffle=True, seed=seed),
    'shuffle=True': lambda data, seed: RandomSampler(data),
    'generator': lambda data, seed: RandomSampler(data, generator=torch.Generator().manual_seed(4)),
    'global': lambda data, seed: Global(data),
}


@pytest.mark.parametrize('kind', SAMPLERS)
def test_draws_of_a_resumed_training_are_those_of_the_rest(kind):
    data = list(range(7))
    whole = draws(SAMPLERS[kind](data, 5), 0, 9)
    assert len({str(batch) for batch in whole}) == 9
    for start in range(9):
        torch.manual_seed(start)  # whatever else was drawn before
        assert draws(SAMPLERS[kind](data, 1), start, 9) == whole[start:]


def test_drawing_batches_moves_no_generator_outside():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert draws(Global(range(7)), 0, 9)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert before == after


def draws(sampler, start, end):
    """Batches of two from ``start`` to ``end``, pass after pass."""
    done = start
    loader = DataLoader(sampler, 2, sampler=sampler, drop_last=True)
    reader = TrainingReader(lambda data: data, lambda collate: collate, 5, None, lambda: done)
    length = 99 if isinstance(sampler, InfiniteSampler) else 3
    found = []
    while done < end:
        reader.number = done // length
        if hasattr(sampler, 'set_epoch'):
            sampler.set_epoch(reader.number)
        for batch in reader.batches(loader, done % length):
            if done == end:
                break
            found.append(batch)
            done += 1
    return found
