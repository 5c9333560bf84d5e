"""The authors' checkpoints: built as they are described, and what converted ones compute."""

from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from references import AuthorsNorm
from torch import nn

from ssn_mm.cli.config import load_config
from ssn_mm.cli.convert import convert
from ssn_mm.publish.configs import build_network
from ssn_mm.weights.authors import from_authors

ROOT = Path(__file__).parents[2]
IMAGENET = {
    'SN': ROOT / 'configs/image_classification/resnet50_sn_8xb32-100e_imagenet.py',
    'SSN': ROOT / 'configs/image_classification/resnet50_ssn_8xb32-100e_imagenet_authors.py',
}
KINETICS = ROOT / 'configs/action_recognition/i3d_r50_sn_8xb8-32x2-400k_kinetics400.py'
ADE20K = ROOT / 'configs/semantic_segmentation/deeplab_r50_sn_8xb2-100k_ade20k-450x450.py'


def authors_resnet(depth, sparse=False, **options):
    """torchvision's ResNet with the authors' layer; that of SSN pools without padding, too."""
    build = getattr(torchvision.models, f'resnet{depth}')
    net = build(norm_layer=partial(AuthorsNorm, sparse=sparse), **options)
    if sparse:
        net.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return net.eval()


def select(net, rows=('mean', 'var')):
    """Fixes rows of all layers as the authors' training leaves them."""
    for module in net.modules():
        if isinstance(module, AuthorsNorm):
            for row in rows:
                logits = getattr(module, f'{row}_weight').data
                logits.copy_(nn.functional.one_hot(logits.argmax(), 3))
                getattr(module, f'{row}_fixed').fill_(1)


def save(net, path, prefix='module.'):
    """Writes a network's state under the authors' names, beside what else their files hold."""
    state = {
        prefix + key.replace('bn', 'sn'): value.clone() for key, value in net.state_dict().items()
    }
    torch.save({'epoch': 100, 'state_dict': state, 'best_prec1': torch.tensor(77.2)}, path)
    return str(path)


def converted(config, sources, folder, options=None, **kwargs):
    """A config's network with a converted checkpoint, loaded as OpenMMLab loads; and the report."""
    cfg = load_config(str(config), options=options)
    report = convert(cfg, sources, folder / 'converted.pth', **kwargs)
    model = build_network(cfg, trust=True)
    load_checkpoint(model, str(folder / 'converted.pth'), strict=False)
    return model.eval(), report


def logits(model, x):
    return model.head.fc(model.neck(model.backbone(x))[-1])


KINDS = {'SN': (), 'SSN half': ('mean',), 'SSN': ('mean', 'var')}


@pytest.mark.parametrize(
    ('depth', 'kind'),
    [
        *((50, kind) for kind in KINDS),
        *(pytest.param(101, kind, marks=pytest.mark.long) for kind in ('SN', 'SSN')),
    ],
)
def test_a_converted_network_computes_what_the_authors_does(tmp_path, kind, depth):
    sparse = kind != 'SN'
    net = authors_resnet(depth, sparse)
    select(net, KINDS[kind])
    source = save(net, tmp_path / 'authors.pth')
    model, report = converted(
        IMAGENET[kind.split()[0]], [source], tmp_path, {'model.backbone.depth': depth}
    )
    assert not report.ignored
    assert not report.mismatched
    x = torch.randn(2, 3, 96, 96).double()  # maps of 3x3 at the end
    with torch.no_grad():
        expected = net.double()(x)
        torch.testing.assert_close(logits(model.double(), x), expected)
        for layer in model.modules():
            layer.correction = 0
        assert (logits(model, x) - expected).abs().max() > 1e-4  # so the option matters
    if kind == 'SSN':
        assert None not in model.backbone.layer4[0].bn2.selected


def test_an_encoder_and_a_decoder_become_one_network(tmp_path):
    encoder = authors_resnet(50, replace_stride_with_dilation=[False, True, True])
    encoder.fc = nn.Identity()

    def head(channels):
        return nn.Sequential(
            nn.Conv2d(channels, 512, 3, padding=1, bias=False), AuthorsNorm(512), nn.ReLU()
        )

    decoder = nn.ModuleDict(
        dict(
            cbr=head(2048),
            conv_last=nn.Conv2d(512, 150, 1),
            cbr_deepsup=head(1024),
            conv_last_deepsup=nn.Conv2d(512, 150, 1),
        )
    ).eval()
    files = [
        save(encoder, tmp_path / 'encoder.pth', ''),
        save(decoder, tmp_path / 'decoder.pth', ''),
    ]
    model, report = converted(ADE20K.with_stem(f'{ADE20K.stem}_authors'), files, tmp_path)
    assert {name.rpartition('.')[2] for name in report.initial} == {'num_batches_tracked'}
    assert not report.ignored
    assert not report.mismatched
    x = torch.randn(1, 3, 65, 65).double()
    for net in (model, encoder, decoder):
        net.double()
    with torch.no_grad():
        maps = {}
        for name in ('layer3', 'layer4'):
            getattr(encoder, name).register_forward_hook(
                lambda _, __, y, name=name: maps.update({name: y})
            )
        encoder(x)
        features = model.backbone(x)
        for ours, cbr, last, layer in (
            (model.decode_head, 'cbr', 'conv_last', 'layer4'),
            (model.auxiliary_head, 'cbr_deepsup', 'conv_last_deepsup', 'layer3'),
        ):
            expected = decoder[last](decoder[cbr](maps[layer]))
            torch.testing.assert_close(ours(features), expected)
    _, report = converted(ADE20K, files, tmp_path)  # the paper's auxiliary head has 256 channels
    why = report.mismatched['auxiliary_head.convs.0.conv.weight']
    assert why.startswith('(512, 1024, 3, 3) in the checkpoint, (256, 1024, 3, 3) in the network')


@pytest.mark.mmaction
def test_a_video_network_starts_from_the_authors_picture_network(tmp_path):
    net = authors_resnet(50)
    source = save(net, tmp_path / 'authors.pth')
    model, report = converted(KINETICS, [source], tmp_path)
    assert report.ignored == ['fc.weight', 'fc.bias']
    assert not report.mismatched
    weight = model.backbone.layer1[0].conv1.conv.weight
    assert weight.shape[2] == 3
    torch.testing.assert_close(weight.sum(2), net.layer1[0].conv1.weight)
    logits = model.backbone.layer4[2].conv3.bn.ratio_logits
    assert torch.equal(logits[1], net.layer4[2].bn3.var_weight)


def test_statistics_that_are_sums_are_divided():
    norm = AuthorsNorm(4)
    mean, var = norm.running_mean.flatten(), norm.running_var.flatten()
    state = {f'sn1.{key}': value for key, value in norm.state_dict().items()}
    sums = state | {
        'sn1.running_mean': 200 * norm.running_mean,
        'sn1.running_var': 200 * (norm.running_var + norm.running_mean**2),
    }
    for found in (from_authors(state), from_authors(sums, num_batches=200)):
        torch.testing.assert_close(found['bn1.running_mean'], mean)
        torch.testing.assert_close(found['bn1.running_var'], var, rtol=1e-4, atol=1e-5)


def test_statistics_that_are_no_sums_over_so_many_batches_are_refused():
    state = {f'sn1.{key}': value for key, value in AuthorsNorm(4).state_dict().items()}
    state['sn1.running_mean'] = torch.full((1, 4, 1), 200.0)
    with pytest.raises(ValueError, match=r'sn1 has mean squares below .* num_batches=20: its'):
        from_authors(state, num_batches=20)
    del state['sn1.var_weight']
    with pytest.raises(ValueError, match='sn1 has mean_weight and no var_weight'):
        from_authors(state)


@pytest.mark.parametrize('fixed', [None, torch.zeros(3)])
def test_sgd_leaves_a_row_at_its_vertex_if_it_has_no_gradient_and_moves_it_if_that_is_0(fixed):
    row = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([row], lr=0.01, momentum=0.9)
    for step in range(300):
        row.grad = torch.tensor([-1.0, 0.5, 0.5])
        if step == 20:  # as the authors' layer does when it has selected
            row.data.copy_(torch.tensor([1.0, 0, 0]))
        if step >= 20:
            row.grad = fixed
        optimizer.step()
    assert (row.tolist() == [1, 0, 0]) == (fixed is None)


def test_rows_that_were_fixed_and_drifted_are_one_hot_again(caplog):
    norm = AuthorsNorm(4, sparse=True)
    norm.mean_fixed.fill_(1)
    norm.mean_weight.data.copy_(torch.tensor([-0.044, 1.059, -0.044]))
    found = from_authors({f'layer1.0.sn1.{k}': v for k, v in norm.state_dict().items()})
    assert found['layer1.0.bn1.ratio_logits'][0].tolist() == [0, 1, 0]
    torch.testing.assert_close(found['layer1.0.bn1.ratio_logits'][1], norm.var_weight.data)


def test_a_layer_without_batch_norm_has_two_normalizers():
    state = {'sn1.mean_weight': torch.ones(2), 'sn1.var_weight': torch.ones(2)}
    assert from_authors(state)['bn1.ratio_logits'].shape == (2, 2)


def test_other_states_come_back_as_they_are():
    state = {'module.conv_last.weight': torch.zeros(1), 'sn1.weight': torch.zeros(1)}
    assert list(from_authors(state)) == ['conv_last.weight', 'sn1.weight']


def test_a_config_of_0_1_calls_the_resnet_by_its_old_name():
    options = dict(depth=18, base_channels=8, stem_channels=8)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        with pytest.warns(UserWarning, match="type='PublishedResNet' is now 'AuthorsResNet'"):
            old = MODELS.build(dict(type='PublishedResNet', **options))
        new = MODELS.build(dict(type='AuthorsResNet', **options))
    assert old.maxpool.ceil_mode
    assert new.maxpool.padding == old.maxpool.padding == 0
