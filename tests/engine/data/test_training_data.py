"""Hooks that exchange what a training reads: it takes effect, and resuming stays exact."""

import gc
from types import SimpleNamespace

import pytest
import torch
from mmaction.engine.runner.multi_loop import MultiLoaderEpochBasedTrainLoop
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, DefaultSampler, RepeatDataset
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from mmpretrain.datasets import KFoldDataset
from mmpretrain.engine.hooks import SwitchRecipeHook
from resumed import LOOPS, NoisyPictures, assert_same, last, state, train
from torch.utils.data import BatchSampler, DataLoader, Dataset, Subset, default_collate

from ssn_mm.engine.data.draws import TrainingReader
from ssn_mm.engine.data.passes import Reader


class Add:
    """A transform that marks pictures."""

    def __init__(self, number):
        self.number = number

    def __call__(self, picture):
        return picture + self.number


@DATASETS.register_module()
class MarkedPictures(NoisyPictures):
    """Noisy pictures, which go through the dataset's pipeline."""

    def prepare_data(self, index):
        picture, label = super().prepare_data(index)
        return self.pipeline(picture), label

    def get_cat_ids(self, index):
        return [index % 2]


class Watch(Hook):
    """Keeps a number of every batch, by iteration."""

    def __init__(self):
        self.batches, self.places = {}, {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.batches[runner.iter] = data_batch[0].mean().item()
        self.places[runner.iter] = batch_idx


def run(folder, loop, hooks=(), loader=(), **kwargs):
    """Trains on marked pictures; returns what the training saw."""
    watch = Watch()
    own = dict(dataset=dict(type='MarkedPictures', pipeline=[Add(0)])) | dict(loader)
    train(folder, loop, hooks=[watch, *hooks()] if hooks else [watch], loader=own, **kwargs)
    return watch


def check_stops(tmp_path, loop, hooks, stops, **kwargs):
    """A run that was stopped, once with workers, is the whole one; returns the batches it saw."""
    whole = run(tmp_path / 'whole', loop, hooks, **dict(interval=20) | kwargs)
    for number, stop in enumerate(stops):
        workers, place = [2 * (number % 2 == 0), 2 * (number % 2)], tmp_path / f'{stop}'
        begin = dict(stop=stop, interval=stop, workers=workers[0]) | kwargs
        end = dict(resume=True, interval=20, workers=workers[1]) | kwargs
        first, rest = run(place, loop, hooks, **begin), run(place, loop, hooks, **end)
        assert first.batches | rest.batches == whole.batches
        assert rest.places == {i: place for i, place in whole.places.items() if i >= stop}
        assert_same(state(place), state(tmp_path / 'whole'), stop)
    return whole.batches


def said(folder):
    return ''.join(file.read_text() for file in folder.rglob('*.log'))


def marked(batches):
    return [iteration for iteration, mean in batches.items() if mean > 50]


def test_a_switched_recipe_takes_effect_and_resumes_exactly_by_epoch(tmp_path):
    def hooks():
        return [SwitchRecipeHook([dict(action_epoch=2, train_pipeline=[Add(100)])])]

    batches = check_stops(tmp_path, 'epochs', hooks, (8, 3, 5))
    assert marked(batches) == list(range(5, 15))


def test_a_switched_recipe_takes_effect_and_resumes_exactly_by_iteration(tmp_path):
    def hooks():  # mmengine counts all of it as the first epoch
        return [SwitchRecipeHook([dict(action_epoch=1, train_pipeline=[Add(100)])])]

    batches = check_stops(tmp_path, 'iterations', hooks, (5,))
    assert marked(batches) == list(range(14))


def other_pictures():
    return DATASETS.build(dict(type='MarkedPictures', pipeline=[Add(100)]))


def collate_marked(samples):
    return default_collate([(picture + 100, label) for picture, label in samples])


def exchange_batch_sampler(loader):
    sampler = DefaultSampler(loader.dataset, shuffle=True)  # of a seed by chance
    vars(loader)['batch_sampler'] = BatchSampler(sampler, 2, drop_last=False)
    loader.dataset.pipeline = Add(100)


EXCHANGES = {
    'pipeline': lambda loop: setattr(loop.dataloader.dataset, 'pipeline', Add(100)),
    'transform': lambda loop: setattr(loop.dataloader.dataset.pipeline.transforms[0], 'number', 99),
    'transforms': lambda loop: loop.dataloader.dataset.pipeline.transforms.append(Add(100)),
    'dataset': lambda loop: vars(loop.dataloader).update(dataset=other_pictures()),
    'collate_fn': lambda loop: setattr(loop.dataloader, 'collate_fn', collate_marked),
    'batch_sampler': lambda loop: exchange_batch_sampler(loop.dataloader),
    'loader': lambda loop: setattr(
        loop,
        'dataloader',
        DataLoader(other_pictures(), 2, shuffle=True, num_workers=loop.dataloader.num_workers),
    ),
}


class Exchange(Hook):
    """Exchanges something after iteration 6, or when a training is resumed after that."""

    def __init__(self, kind):
        self.exchange, self.done = EXCHANGES[kind], False

    def before_train_epoch(self, runner):
        self.apply(runner, runner.iter)

    def after_train_iter(self, runner, *_, **__):
        self.apply(runner, runner.iter + 1)

    def apply(self, runner, iteration):
        if iteration > 6 and not self.done:
            self.exchange(runner.train_loop)
            self.done = True


@pytest.mark.parametrize('kind', EXCHANGES)
def test_what_a_hook_exchanges_is_in_the_next_batch_whatever_workers_have_read(tmp_path, kind):
    batches = check_stops(tmp_path, 'iterations', lambda: [Exchange(kind)], (9,))
    assert marked(batches) == list(range(7, 14))


@pytest.mark.parametrize('kind', ['pipeline', 'loader'])
def test_what_a_hook_exchanges_within_an_epoch_is_in_the_next_batch(tmp_path, kind):
    batches = check_stops(tmp_path, 'epochs', lambda: [Exchange(kind)], (9,))
    assert marked(batches) == list(range(7, 15))


def test_hooks_find_loader_dataset_and_samplers_as_they_were_given(tmp_path):
    class Look(Hook):
        priority = 'LOWEST'
        seen = ()

        def before_train_epoch(self, runner):
            loader = runner.train_dataloader
            self.seen += (type(loader.dataset), type(loader.sampler), len(loader))
            self.seen += (loader.batch_sampler.sampler is loader.sampler, loader.collate_fn)

    look = Look()
    run(tmp_path, 'epochs', lambda: [look], stop=2)
    assert look.seen[:4] == (MarkedPictures, DefaultSampler, 5, True)
    assert look.seen[4].func.__name__ == 'default_collate'


class ReadsAlong(Hook):
    """Reads the training's loader beside the training, as PreciseBNHook does."""

    def __init__(self):
        self.seen = []

    def before_train(self, runner):
        next(iter(runner.train_dataloader))

    def after_train_epoch(self, runner):
        self.seen += [sum(1 for _ in runner.train_dataloader)]


@pytest.mark.parametrize('loop', ['epochs', 'iterations'])
def test_a_hook_that_reads_the_loader_takes_no_batch_from_the_training(tmp_path, loop):
    kept = []
    sampler = dict(sampler=dict(type='DefaultSampler', shuffle=True))

    def hooks():
        kept.append(ReadsAlong())
        return [kept[-1]]

    batches = check_stops(tmp_path, loop, hooks, (7,), loader=sampler)
    assert batches == run(tmp_path / 'alone', loop, loader=sampler).batches
    assert {number for hook in kept for number in hook.seen} == {5}


def test_what_a_hook_draws_for_an_epoch_is_drawn_again_after_a_stop_in_it(tmp_path):
    class Draw(Hook):
        def before_train_epoch(self, runner):
            runner.train_dataloader.dataset.pipeline = Add(torch.rand(1).item())

    check_stops(tmp_path, 'epochs', lambda: [Draw()], (7,))


PLAIN = {
    'dataset': lambda: MarkedPictures(pipeline=[Add(0)]),
    'Subset': lambda: Subset(MarkedPictures(pipeline=[Add(0)]), range(10)),  # reads batches itself
    'list': lambda: [(torch.full((3, 6, 6), float(number)), number % 2) for number in range(10)],
}


@pytest.mark.parametrize(
    ('loop', 'data', 'workers'),
    [
        ('epochs', 'dataset', 0),
        ('passes', 'dataset', 0),
        ('epochs', 'Subset', 0),
        ('passes', 'list', 1),
    ],
)
def test_a_plain_loader_that_shuffles_resumes_exactly(tmp_path, loop, data, workers):
    def watched(name, **kwargs):
        watch = Watch()
        plain = DataLoader(PLAIN[data](), 2, shuffle=True, num_workers=workers)
        train(tmp_path / name, loop, hooks=[watch], train_dataloader=plain, **kwargs)
        return watch.batches

    whole = watched('whole')
    assert watched('parts', stop=7) | watched('parts', resume=True) == whole
    assert_same(state(tmp_path / 'parts'), state(tmp_path / 'whole'))


class TwoLoaders(MultiLoaderEpochBasedTrainLoop):
    """Has batches of two loaders as one."""

    def __init__(self, runner, dataloader, max_epochs):
        other = DataLoader(other_pictures(), 3, shuffle=True)  # shorter: it ends the epochs
        super().__init__(runner, dataloader, [other], max_epochs)

    def run_iter(self, idx, data_batch):
        super().run_iter(idx, [torch.cat(parts) for parts in zip(*data_batch, strict=True)])


def test_a_loop_over_several_loaders_resumes_exactly(tmp_path, monkeypatch):
    monkeypatch.setitem(LOOPS, 'two', (dict(type=TwoLoaders, max_epochs=3), 'DefaultSampler'))
    assert len(check_stops(tmp_path, 'two', None, (7,), interval=1)) == 12


@pytest.mark.parametrize(
    ('stop', 'sizes', 'place', 'rest'),
    [  # 2 of 5 batches are 4 of 10, and 7 of 10 are 3 of 5
        (7, (2, 1), 4, range(14, 30)),
        (17, (1, 2), 3, range(8, 15)),
    ],
)
def test_a_training_resumed_with_other_batches_ends_with_its_epochs(
    tmp_path, stop, sizes, place, rest
):
    run(tmp_path, 'epochs', stop=stop, loader=dict(batch_size=sizes[0]))
    watch = run(tmp_path, 'epochs', loader=dict(batch_size=sizes[1]), resume=True)
    assert list(watch.batches) == list(rest)
    assert watch.places[rest[0]] == place
    assert last(tmp_path)['state_dict']['norm.radius'] == 1  # at its end
    log = said(tmp_path)
    told = f'{10 // sizes[1]} batches, {10 // sizes[0]} when this checkpoint was written'
    assert f'A pass over the data has {told}' in log
    assert 'Nothing is left' not in log


def pictures():
    return dict(type='MarkedPictures', pipeline=[Add(0)])


def fold(data):  # of a config: mmpretrain 1.2 fails on a dataset that is built
    return KFoldDataset(pictures(), fold=0, num_splits=2)


def nested(data):
    return RepeatDataset(dict(type='ConcatDataset', datasets=[pictures(), pictures()]), 2)


WRAPPERS = {
    'none': lambda data: data,
    'ConcatDataset': lambda data: ConcatDataset([data, other_pictures()]),
    'RepeatDataset': lambda data: RepeatDataset(data, 2),
    'ClassBalancedDataset': lambda data: ClassBalancedDataset(data, 0.1),
    'KFoldDataset': fold,
    'RepeatDataset of ConcatDataset': nested,
    'Subset': lambda data: Subset(data, [1, 2]),
}


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('wrapper', WRAPPERS)
def test_a_recipe_is_switched_through_dataset_wrappers(wrapper, workers):
    data = WRAPPERS[wrapper](MarkedPictures(pipeline=[Add(0)]))
    loader = DataLoader(data, 2, num_workers=workers, persistent_workers=workers > 0)
    assert Reader(lambda dataset: dataset).take(loader)
    assert any(batch[0].mean() < 50 for batch in loader)
    runner = SimpleNamespace(train_loop=SimpleNamespace(dataloader=loader))
    SwitchRecipeHook._switch_train_pipeline(runner, Add(100))
    batches = list(loader)
    assert len(batches) == len(loader)
    assert all(batch[0].mean() > 50 for batch in batches)
    if workers:
        loader._iterator._shutdown_workers()


def test_workers_last_from_pass_to_pass_unless_something_was_exchanged():
    loader = DataLoader(
        MarkedPictures(pipeline=[Add(0)]), 2, num_workers=1, persistent_workers=True
    )
    Reader(lambda dataset: dataset).take(loader)

    def workers():
        return [len(list(loader)), *(worker.pid for worker in loader._iterator._workers)]

    first = workers()
    assert first[0] == 5
    assert workers() == first
    loader.dataset.pipeline = Add(1)
    changed = workers()
    assert changed != first
    assert workers() == changed
    loader._iterator._shutdown_workers()


def test_workers_of_a_loader_that_was_exchanged_end_with_its_pass():
    def loader():
        return DataLoader(list(range(9)), 2, num_workers=1, persistent_workers=True)

    loop = SimpleNamespace(dataloader=loader())
    reader = TrainingReader(lambda data: Items(data), lambda collate: collate, 5, loop, lambda: 0)
    first, second = loop.dataloader, loader()
    reader.take(first)
    batches = iter(first)
    next(batches)
    workers = list(batches._workers)
    loop.dataloader = second
    next(batches)
    workers += batches._workers
    gc.disable()
    try:
        del batches
        assert not any(worker.is_alive() for worker in workers)
    finally:
        gc.enable()


class Items(Dataset):
    """Reads what a training draws."""

    def __init__(self, data):
        self.data = data

    def __getitem__(self, item):
        return self.data[item[-1]]


class Count(Hook):
    """Exchanges an attribute after every iteration."""

    def after_train_iter(self, runner, *_, **__):
        transform = runner.train_dataloader.dataset.pipeline.transforms[0]
        transform.number = 1000 * (runner.iter + 1)


def test_what_is_exchanged_at_every_batch_is_read_and_warned_of_once(tmp_path):
    watch = run(tmp_path, 'iterations', lambda: [Count()], stop=4, interval=20, workers=1)
    assert [round(mean, -3) for mean in watch.batches.values()] == [0, 1000, 2000, 3000]
    assert said(tmp_path).count('with num_workers=0 that takes no time') == 1
    assert said(tmp_path).count('is read again from here') == 0
