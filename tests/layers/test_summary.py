import pytest

from ssn_mm.layers import block_of, stage_of


@pytest.mark.parametrize(
    ('layer', 'block', 'stage'),
    [
        ('backbone.layer1.0.bn1', 'backbone.layer1.0', 'backbone.layer1'),
        ('backbone.layer1.0.downsample.1', 'backbone.layer1.0', 'backbone.layer1'),
        ('backbone.conv1.bn', 'backbone', 'backbone'),
        ('decode_head.convs.0.bn', 'decode_head.convs.0', 'decode_head.convs'),
        ('bn', 'bn', 'bn'),
    ],
)
def test_a_layers_name_tells_its_block_and_stage(layer, block, stage):
    assert (block_of(layer), stage_of(layer)) == (block, stage)
