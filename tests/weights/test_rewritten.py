"""States whose names or shapes are not quite the network's, with SSN beside."""

import torch
from mmengine.registry import MODELS
from torch import nn

from ssn_mm import SSN
from ssn_mm.weights.loading import load_weights


def test_a_compiled_network_and_its_state_are_loaded_as_what_was_compiled():
    nets = [nn.Sequential(nn.Conv2d(3, 8, 1), SSN(8)) for _ in range(2)]
    both = nets[0], torch.compile(nets[1])
    for first, second in ((0, 1), (1, 0)):
        nets[first][1].weight.data.normal_()
        report = load_weights(both[second], both[first].state_dict())
        assert (report.initial, report.ignored) == ([], [])
        assert torch.equal(nets[second][1].weight, nets[first][1].weight)


def test_positions_of_another_resolution_are_resized_beside_ssn():
    __import__('mmpretrain.models')
    arch = dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8)

    def network(size):
        vit = MODELS.build(dict(type='mmpretrain.VisionTransformer', arch=arch, img_size=size))
        return nn.ModuleDict(dict(backbone=vit, norm=SSN(8)))

    vit, resized, expected = network(64), network(96), network(96)
    nn.init.normal_(vit.backbone.pos_embed)
    expected.load_state_dict(vit.state_dict())  # by the hook that the library registers
    report = load_weights(resized, vit.state_dict())
    assert (report.mismatched, report.initial) == ({}, [])
    assert torch.equal(resized.backbone.pos_embed, expected.backbone.pos_embed)
