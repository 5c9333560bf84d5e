"""Datasets of a config, however they are written."""

from mmengine.config import Config, ConfigDict

from ssn_mm.datasets.nested import data_loaders, datasets_of, replace_pipelines, type_name


def test_a_type_is_named_alike_as_a_string_with_a_scope_and_as_a_class():
    class Resize: ...

    kinds = ('Resize', 'mmseg.Resize', Resize, dict(type='mmseg.Resize'), ConfigDict(type=Resize))
    assert {type_name(kind) for kind in kinds} == {'Resize'}
    assert type_name({}) == ''


def found_in(dataset, **options):
    cfg = Config(dict(default_scope='mmpretrain', test_dataloader=dict(dataset=dataset)))
    return datasets_of(cfg, 'test', **options)


def data(name, **more):
    return dict(type='A', data_root=name, pipeline=[dict(type='Load')], **more)


def test_datasets_are_found_in_lists_and_wrappers_in_order_with_their_pipelines():
    repeated = ConfigDict(type='RepeatDataset', times=3, dataset=data('b'))
    joined = ConfigDict(type='ConcatDataset', datasets=[data('a'), repeated], _scope_='mmseg')
    found = found_in([joined, (data('c', _scope_='mmaction'),), data('d')])
    assert [(d['data_root'], d['_scope_']) for d in found] == [
        ('a', 'mmseg'), ('b', 'mmseg'), ('c', 'mmaction'), ('d', 'mmpretrain')
    ]  # fmt: skip
    assert all(d['pipeline'] == [dict(type='Load')] for d in found)
    assert found[0] is not joined['datasets'][0]


def test_datasets_may_have_names_and_a_setting_that_is_called_dataset():
    named = ConfigDict(a=dict(type='A', dataset='coco'), b=dict(type='B'))
    joined = ConfigDict(type='MyConcat', datasets=named)
    assert [type_name(node) for node in found_in(joined)] == ['A', 'B']
    replace_pipelines(joined, [dict(type='Other')])
    assert [node['pipeline'] for node in found_in(joined)] == [[dict(type='Other')]] * 2


def test_steps_of_wrappers_follow_those_of_the_dataset_if_asked_for():
    steps = [dict(type='Mix'), dict(type='Flip'), dict(type='Pack')]
    mixed = dict(type='MixDataset', dataset=data('a'), pipeline=steps, skip_type_keys=['Flip'])
    outer = dict(type='Outer', dataset=mixed, pipeline=[dict(type='Last')])
    (plain,), (whole,) = found_in(outer), found_in(outer, outer_steps=True)
    assert [type_name(step) for step in plain['pipeline']] == ['Load']
    assert [type_name(step) for step in whole['pipeline']] == ['Load', 'Mix', 'Pack', 'Last']
    replace_pipelines(outer, [dict(type='One')])
    (whole,) = found_in(outer, outer_steps=True)
    assert [type_name(step) for step in whole['pipeline']] == ['One']


def test_loaders_of_a_split_are_a_list_the_others_of_a_training_included():
    others = dict(type='MultiLoaderEpochBasedTrainLoop', other_loaders=[dict(dataset=data('b'))])
    cfg = Config(dict(train_dataloader=dict(dataset=data('a')), train_cfg=others))
    assert [loader['dataset']['data_root'] for loader in data_loaders(cfg, 'train')] == ['a', 'b']
    assert data_loaders(cfg, 'val') == []
    assert data_loaders(Config(dict(val_dataloader=[dict(), dict()])), 'val') == [{}, {}]
