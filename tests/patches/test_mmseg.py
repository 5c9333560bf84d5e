"""Cascades of mmsegmentation with two classes in one channel."""

import pytest
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

HEAD = dict(type='FCNHead', in_channels=4, channels=4, num_classes=2, out_channels=1)


@pytest.mark.parametrize('thresholds', [(0.3, 0.4), (0.4, 0.3)])
def test_a_cascade_has_the_threshold_of_its_last_head(thresholds):
    import mmseg.models  # noqa: F401, registers

    with DefaultScope.overwrite_default_scope('mmseg'):
        cascade = MODELS.build(
            dict(
                type='CascadeEncoderDecoder',
                num_stages=2,
                backbone=dict(type='ResNet', depth=18, base_channels=4, stem_channels=4),
                decode_head=[HEAD | dict(threshold=threshold) for threshold in thresholds],
            )
        )
    assert cascade.decode_head.threshold == thresholds[1]
