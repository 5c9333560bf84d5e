"""What a config's network takes, and what would stop it or teach it nonsense."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from ssn_mm.datasets.check.sample_check import SampleCheck


def expected(training=True, **model):
    return SampleCheck.of(Config(dict(model=model)), training)


def scene(labels, size=(4, 6), **meta):
    """A sample of segmentation, labels (C, H, W)."""
    data = SegDataSample(metainfo=meta)
    data.gt_sem_seg = PixelData(data=torch.as_tensor(np.asarray(labels), dtype=torch.int64))
    return dict(inputs=torch.zeros(3, *size), data_samples=data)


def test_the_check_knows_what_the_config_says():
    head = dict(num_classes=11, ignore_index=7)
    model = dict(decode_head=head, data_preprocessor=dict(mean=[1.0, 2.0, 3.0]))
    assert expected(**model) == SampleCheck(11, 3, (7,))
    assert expected(type='SegTTAModel', module=model) == SampleCheck(11, 3, (7,))
    cfg = Config(dict(data_preprocessor=dict(mean=[1.0]), model=dict(head=dict(num_classes=5))))
    assert SampleCheck.of(cfg) == SampleCheck(5, 1)
    assert SampleCheck.of(Config(dict())) == SampleCheck()


def test_a_cascade_has_the_labels_of_its_heads():
    heads = [dict(num_classes=19), dict(num_classes=19, ignore_index=254)]
    assert expected(decode_head=heads) == SampleCheck(19, None, (254, 255))


@pytest.mark.parametrize('head', [dict(num_classes=1), dict(num_classes=2, out_channels=1)])
def test_a_head_of_one_channel_tells_two_labels_apart(head):
    check = expected(decode_head=head)
    check(scene([[[0, 1, 255]]]))
    with pytest.raises(ValueError, match=r'label 2; classes are 0..1'):
        check(scene([[[0, 1, 2]]]))


def test_a_picture_of_one_channel_is_repeated_and_others_must_fit():
    check = SampleCheck(11, 3)
    for channels in (1, 3):
        check(dict(inputs=torch.zeros(channels, 4, 4), data_samples=PixelData()))
    with pytest.raises(ValueError, match='has 4 channels where the network takes 3'):
        check(dict(inputs=[torch.zeros(2, 4, 8, 5, 5)]))
    SampleCheck(11, 1)(dict(inputs=torch.zeros(10, 4, 4)))  # one mean for all, as of flow


def test_a_map_for_each_class_is_taken_and_colours_are_not():
    check = SampleCheck(2)
    check(scene(np.ones((5, 4, 6)), ori_shape=(40, 60)))
    check(scene(np.ones((5, 40, 60)), ori_shape=(40, 60)))  # as evaluation has it
    with pytest.raises(ValueError, match=r'shape \(4, 6, 3\), not \(1, H, W\)'):
        check(scene(np.ones((4, 6, 3)), ori_shape=(40, 60)))


def label(*numbers):
    from mmpretrain.structures import DataSample

    return dict(inputs=torch.zeros(3, 4, 4), data_samples=DataSample().set_gt_label(list(numbers)))


def test_evaluation_takes_samples_without_a_label_and_training_does_not():
    model = dict(cls_head=dict(num_classes=4))
    expected(training=False, **model)(label(-1))
    with pytest.raises(ValueError, match='label -1'):
        expected(**model)(label(-1))


def test_retrieval_is_tested_on_labels_that_it_has_not_learned():
    model = dict(type='ImageToImageRetriever', head=dict(num_classes=4))
    expected(training=False, **model)(label(7, 9))
    with pytest.raises(ValueError, match='label 7'):
        expected(**model)(label(7))
