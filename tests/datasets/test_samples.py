"""Datasets of a config, however they are written."""

from mmengine.config import ConfigDict

from ssn_mm.datasets.samples import leaves, type_name


def test_a_type_is_named_alike_as_a_string_with_a_scope_and_as_a_class():
    class Resize: ...

    kinds = ('Resize', 'mmseg.Resize', Resize, dict(type='mmseg.Resize'), ConfigDict(type=Resize))
    assert {type_name(kind) for kind in kinds} == {'Resize'}
    assert type_name({}) == ''


def test_datasets_are_found_in_lists_and_wrappers_in_order_with_their_pipelines():
    def data(name, **more):
        return ConfigDict(type='A', data_root=name, pipeline=[dict(type='Load')], **more)

    repeated = ConfigDict(type='RepeatDataset', times=3, dataset=data('b'))
    joined = ConfigDict(type='ConcatDataset', datasets=[data('a'), repeated], _scope_='mmseg')
    found = list(leaves([joined, (data('c', _scope_='mmaction'),)], 'mmpretrain'))
    assert [(d['data_root'], d['_scope_']) for d in found] == [
        ('a', 'mmseg'), ('b', 'mmseg'), ('c', 'mmaction')
    ]  # fmt: skip
    assert all(d['pipeline'] == [dict(type='Load')] for d in found)
    assert found[0] is not joined['datasets'][0]


def test_datasets_may_have_names_and_a_setting_that_is_called_dataset():
    named = ConfigDict(a=dict(type='A', dataset='coco'), b=dict(type='B'))
    joined = ConfigDict(type='MyConcat', datasets=named)
    assert [type_name(node) for node in leaves(joined, 'mmseg')] == ['A', 'B']
