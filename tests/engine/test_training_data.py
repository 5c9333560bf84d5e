"""Hooks that exchange what a training reads: it takes effect, and resuming stays exact."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, DefaultSampler, RepeatDataset
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.datasets import KFoldDataset
from mmpretrain.engine.hooks import SwitchRecipeHook
from resumed import LOOPS, NoisyPictures, assert_same, last, state, train
from torch.utils.data import BatchSampler, DataLoader, Subset, default_collate

from ssn_mm.engine.passes import Reader


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
    whole = run(tmp_path / 'whole', loop, hooks, **kwargs)
    for number, stop in enumerate(stops):
        workers = [2 * (number % 2 == 0), 2 * (number % 2)]
        first = run(tmp_path / f'{stop}', loop, hooks, stop=stop, workers=workers[0], **kwargs)
        rest = run(tmp_path / f'{stop}', loop, hooks, workers=workers[1], resume=True, **kwargs)
        assert first.batches | rest.batches == whole.batches
        assert rest.places == {i: place for i, place in whole.places.items() if i >= stop}
        assert_same(state(tmp_path / f'{stop}'), state(tmp_path / 'whole'), stop)
    return whole.batches


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
    class Choose(Hook):
        def before_train_epoch(self, runner):
            runner.train_dataloader.dataset.pipeline = Add(torch.rand(1).item())

    check_stops(tmp_path, 'epochs', lambda: [Choose()], (7,))


@pytest.mark.parametrize('loop', ['epochs', 'passes'])
def test_a_plain_loader_that_shuffles_resumes_exactly(tmp_path, loop):
    def watched(name, **kwargs):
        watch = Watch()
        plain = DataLoader(MarkedPictures(pipeline=[Add(0)]), 2, shuffle=True)
        train(tmp_path / name, loop, hooks=[watch], train_dataloader=plain, **kwargs)
        return watch.batches

    whole = watched('whole')
    assert watched('parts', stop=7) | watched('parts', resume=True) == whole
    assert_same(state(tmp_path / 'parts'), state(tmp_path / 'whole'))


class TwoLoaders(EpochBasedTrainLoop):
    """As mmaction2's MultiLoaderEpochBasedTrainLoop, batches of two loaders in one."""

    def __init__(self, runner, dataloader, max_epochs):
        super().__init__(runner, dataloader, max_epochs)
        other = DataLoader(other_pictures(), 2, shuffle=True)
        self.multi_loaders = [self.dataloader, other]

    def run_epoch(self):
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for idx, batches in enumerate(zip(*self.multi_loaders, strict=True)):
            self.run_iter(idx, [torch.cat(parts) for parts in zip(*batches, strict=True)])
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


def test_a_loop_over_several_loaders_resumes_exactly(tmp_path, monkeypatch):
    monkeypatch.setitem(LOOPS, 'two', (dict(type=TwoLoaders, max_epochs=3), 'DefaultSampler'))
    check_stops(tmp_path, 'two', None, (7,))


def test_a_training_resumed_with_other_batches_ends_with_its_epochs(tmp_path):
    run(tmp_path, 'epochs', stop=7)
    watch = run(tmp_path, 'epochs', loader=dict(batch_size=1), resume=True)
    assert list(watch.batches) == list(range(14, 30))  # 2 of 5 batches are 4 of 10
    assert watch.places[14] == 4
    assert last(tmp_path)['state_dict']['norm.radius'] == 1  # at its end
    log = ''.join(file.read_text() for file in tmp_path.rglob('*.log'))
    assert 'A pass over the data has 10 batches, 5 when this checkpoint was written' in log


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
