"""Table 4's configs, their settings read back from the built runner."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import MODELS as PRETRAIN
from mmseg.registry import MODELS
from mmseg.utils import register_all_modules
from torch import nn

from ssn_mm import SN, SSN
from ssn_mm.ops import sparsemax

CONFIGS = Path(__file__).parents[2] / 'configs'
NORM = {'syncbn': nn.SyncBatchNorm, 'gn': nn.GroupNorm, 'sn': SN, 'ssn': SSN}
# lr, iterations, crop, classes
ADE20K = (0.02, 100_000, (450, 450), 150)
CITYSCAPES = (0.01, 74_400, (713, 713), 19)
LEAVES = [
    (path, norm, settings)
    for pattern, settings in (
        ('deeplab_r50_{}_8xb2-100k_ade20k-450x450', ADE20K),
        ('deeplab_r50_{}_8xb2-400e_cityscapes-713x713', CITYSCAPES),
    )
    for norm in NORM
    for path in [CONFIGS / 'semantic_segmentation' / f'{pattern.format(norm)}.py']
] + [
    (CONFIGS / 'deeplab_ssn_ade20k.py', 'ssn', ADE20K),
    (CONFIGS / 'deeplab_ssn_cityscapes.py', 'ssn', CITYSCAPES),
]
every_leaf = pytest.mark.parametrize(
    ('path', 'norm', 'settings'), LEAVES, ids=[path.stem for path, *_ in LEAVES]
)
IMAGENET = 'model.backbone.init_cfg'


@pytest.fixture(scope='module', autouse=True)
def _mmseg():
    register_all_modules()


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """Builds a config's runner as ``Runner.train`` does, over file names alone; once a file."""
    runners = {}

    def build(path):
        if path not in runners:
            cfg = Config.fromfile(path)
            cfg.work_dir = str(tmp_path_factory.mktemp('run'))
            cfg.experiment_name = path.stem
            loader, root = cfg.train_dataloader, Path(cfg.work_dir, 'data')
            loader.update(num_workers=0, persistent_workers=False)
            loader.dataset.data_root = str(root)
            for folder in loader.dataset.data_prefix.values():
                (root / folder).mkdir(parents=True)
            name = 'a_leftImg8bit.png' if 'cityscapes' in path.stem else 'a.jpg'
            (root / loader.dataset.data_prefix.img_path / name).touch()
            runner = Runner.from_cfg(cfg)
            runner._train_loop = runner.build_train_loop(cfg.train_cfg)
            runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
            runners[path] = runner
        return runners[path]

    return build


def norms(model):
    kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, SSN, SN)
    return [m for m in model.modules() if isinstance(m, kinds)]


def test_the_grid_is_complete():
    found = {
        *(CONFIGS / 'semantic_segmentation').glob('[!_]*-*x*[0-9].py'),
        *CONFIGS.glob('deeplab_*.py'),
    }
    assert found == {path for path, *_ in LEAVES}


@every_leaf
def test_every_leaf_has_its_norm_in_all_53_and_2_layers(path, norm, settings):
    found = norms(MODELS.build(Config.fromfile(path).model))  # a lone runner makes BN of SyncBN
    assert len(found) == 55
    assert all(isinstance(m, NORM[norm]) for m in found)


@every_leaf
def test_the_network_is_the_papers(built, path, norm, settings):
    model = built(path).model
    assert model.backbone.conv1.kernel_size == (7, 7)
    dilations = [model.backbone.layer3[1].conv2.dilation, model.backbone.layer4[1].conv2.dilation]
    assert dilations == [(2, 2), (4, 4)]
    assert model.decode_head.convs[0].conv.out_channels == 512
    assert model.auxiliary_head.loss_decode.loss_weight == 0.4
    logits, labels = torch.randn(1, settings[3], 4, 4), torch.full((1, 4, 4), 255)
    labels[0, 0] = torch.arange(4)
    labelled = nn.functional.cross_entropy(logits[:, :, 0], labels[:, 0])  # of the other 12, none
    for head, weight in ((model.decode_head, 1.0), (model.auxiliary_head, 0.4)):
        loss = head.loss_decode(logits, labels, ignore_index=255)
        torch.testing.assert_close(loss, weight * labelled)
    assert model.decode_head.num_classes == model.auxiliary_head.num_classes == settings[3]
    assert model.test_cfg.mode == 'whole'


@every_leaf
def test_parameter_groups_are_the_papers(built, path, norm, settings):
    runner = built(path)
    lr = settings[0]
    names = {id(p): name for name, p in runner.model.named_parameters()}
    seen = 0
    for group in runner.optim_wrapper.optimizer.param_groups:
        for param in group['params']:
            ratio = 'ratio_logits' in names[id(param)]
            expected = (lr * 0.1, 0.0) if ratio and norm == 'ssn' else (lr, 1e-4)
            initial = group.get('initial_lr', group['lr'])
            assert (initial, group['weight_decay']) == pytest.approx(expected)
            seen += 1
    assert seen == len(names)


@every_leaf
def test_crop_batch_and_length_are_the_papers(built, path, norm, settings):
    runner = built(path)
    _, iterations, crop, _ = settings
    loader = runner.train_dataloader
    assert loader.batch_size == 2
    transforms = {type(t).__name__: t for t in loader.dataset.pipeline.transforms}
    if 'RandomCrop' in transforms:
        assert transforms['RandomCrop'].crop_size == crop
        assert transforms['RandomResize'].ratio_range == (0.5, 2.0)
    else:
        assert transforms['Resize'].scale == crop
    assert runner.model.data_preprocessor.size == crop
    assert runner.max_iters == iterations
    assert not runner.cfg.auto_scale_lr.enable


@every_leaf
def test_the_learning_rate_is_poly_over_the_whole_training(built, path, norm, settings):
    runner = built(path)
    lr, iterations, *_ = settings
    (cfg,) = runner.cfg.param_scheduler
    assert cfg.end == iterations
    (scheduler,) = runner.build_param_scheduler([cfg])
    groups = runner.optim_wrapper.optimizer.param_groups
    initial = [group['initial_lr'] for group in groups]
    last = iterations - 1  # from the first iteration, at the full rate, to the last, at 0
    for step in range(1, iterations):
        scheduler.step()
        if step in (1, last // 2, last * 3 // 4, last):
            left = (1 - step / last) ** 0.9
            now = [group['lr'] for group in groups]
            assert now == pytest.approx([start * left for start in initial], abs=1e-9)
    assert max(initial) == lr


@every_leaf
def test_the_radius_grows_from_0_to_1_over_the_whole_training(built, path, norm, settings):
    runner = built(path)
    hooks = [h for h in runner.hooks if type(h).__name__ == 'SSNRadiusHook']
    assert len(hooks) == (norm == 'ssn')
    for hook in hooks:
        assert [hook.schedule(p) for p in (0, 0.41, 0.816, 1)] == [0, 0.41, 0.816, 1]


@every_leaf
def test_test_scales_are_the_papers(built, path, norm, settings):
    cfg = built(path).cfg
    resizes = cfg.tta_pipeline[1]['transforms'][0]
    single = next(t for t in cfg.test_pipeline if t['type'] == 'Resize')['scale']
    if settings is ADE20K:
        assert [t['scale'][1] for t in resizes] == [300, 400, 500, 600]
        assert single == (1000, 450)
    else:
        assert [t['scale_factor'] for t in resizes] == [1.0, 1.25, 1.5, 1.75]
        assert single == (2048, 1024)
    assert len(cfg.tta_pipeline[1]['transforms']) == 3  # scales alone, no flips


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
    """An SN ResNet-50 with ratios that differ from layer to layer, saved as mmpretrain does."""
    torch.manual_seed(0)
    model = PRETRAIN.build(
        dict(
            type='mmpretrain.ImageClassifier',
            data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'),
            backbone=dict(type='mmpretrain.ResNet', depth=50, norm_cfg=dict(type='SN')),
            neck=dict(type='mmpretrain.GlobalAveragePooling'),
            head=dict(type='mmpretrain.LinearClsHead', num_classes=1000, in_channels=2048),
        )
    )
    with torch.no_grad():
        for layer in norms(model):
            layer.ratio_logits.normal_(1, 0.3)
            layer.running_mean.normal_()
    file = tmp_path_factory.mktemp('imagenet') / 'sn.pth'
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, file)
    return file, model.backbone.state_dict()


@pytest.mark.parametrize('name', ['ade20k', 'cityscapes'])
def test_ssn_starts_from_sns_imagenet_weights(name, imagenet):
    file, weights = imagenet
    cfg = Config.fromfile(CONFIGS / f'deeplab_ssn_{name}.py')
    cfg.merge_from_dict(
        {
            f'{IMAGENET}.type': 'Pretrained',
            f'{IMAGENET}.prefix': 'backbone',
            f'{IMAGENET}.checkpoint': str(file),
        }
    )
    model = MODELS.build(cfg.model)
    model.init_weights()
    loaded = model.backbone.state_dict()
    assert set(weights) <= set(loaded)
    for key, value in weights.items():
        if key.endswith('normalizer_codes'):  # they say whether the logits are SN's or SSN's
            continue
        is_logits = key.endswith('ratio_logits')  # SSN's are SN's ratios
        assert torch.equal(loaded[key], value.softmax(-1) if is_logits else value), key
    layers = norms(model.backbone)
    assert len(layers) == 53
    assert all(layer.radius == 0 for layer in layers)
    for layer in layers:  # at radius 0 SparsestMax is sparsemax
        torch.testing.assert_close(layer.ratios(), sparsemax(layer.ratio_logits))
    with torch.no_grad():
        model.backbone(torch.randn(2, 3, 65, 65))
