"""Leaves with the recipe of the code that the paper's experiments come from, at what they add."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from ssn_mm.layers import SwitchNorm, switch_norms

CONFIGS = Path(__file__).parents[2] / 'configs'
LEAVES = {path.stem: path for path in CONFIGS.rglob('[!_]*_authors.py')}
IMAGENET = 'resnet50_{}_8xb32-100e_imagenet_authors'
ADE20K = 'deeplab_r50_{}_8xb2-100k_ade20k-450x450_authors'
CITYSCAPES = 'deeplab_r50_{}_8xb2-400e_cityscapes-713x713_authors'
KINETICS = 'i3d_r50_ssn2_8xb8-32x2-400k_kinetics400_authors'
EIG_VEC = torch.tensor(  # of the authors' ColorAugmentation, for RGB from 0 to 1
    [[0.4009, 0.7192, -0.5675], [-0.8140, -0.0045, -0.5808], [0.4203, -0.6948, -0.5836]]
)


def read(stem):
    return Config.fromfile(LEAVES[stem])


def groups_of(cfg):
    """Rate and weight decay by the parameters' names."""
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    found = {
        names[id(p)]: (pytest.approx(group['lr']), group['weight_decay'])
        for group in groups
        for p in group['params']
    }
    return model, found


def test_the_papers_leaf_stands_beside_each():
    assert len(LEAVES) == 8
    for path in LEAVES.values():
        paper, ours = Config.fromfile(path.with_stem(path.stem[:-8])), Config.fromfile(path)
        assert ours.train_cfg == paper.train_cfg
        assert ours.optim_wrapper.optimizer == paper.optim_wrapper.optimizer
        assert ours.param_scheduler == paper.param_scheduler
        assert ours.train_dataloader.batch_size == paper.train_dataloader.batch_size


def test_each_shared_recipe_names_its_repository_and_files():
    for path in CONFIGS.rglob('_*_authors_.py'):
        text = path.read_text()
        assert 'github.com/' in text.partition('_base_')[0]
        assert re.search(r'# \w+/[\w/.-]+\.(py|sh|yaml)', text)


@pytest.mark.parametrize('norm', ['sn', 'ssn'])
def test_on_imagenet_features_are_dropped_before_fc_in_training_alone(norm):
    cfg = read(IMAGENET.format(norm))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
        plain = MODELS.build(Config.fromfile(CONFIGS / 'resnet50_ssn_imagenet.py').model.head)
    assert list(model.head.state_dict()) == list(plain.state_dict())
    model.init_weights()
    bound = 2048**-0.5  # nn.Linear's, not mmpretrain's normal distribution
    assert 0.99 * bound < model.head.fc.weight.abs().max() <= bound
    features = (torch.ones(1, 2048),)
    fc = model.head.fc
    with torch.no_grad():
        fc.weight.fill_(1 / 2048)
        fc.bias.zero_()
        torch.testing.assert_close(model.head.eval()(features), torch.ones(1, 1000))
        torch.testing.assert_close(
            model.head.train()(features), torch.ones(1, 1000), atol=0.1, rtol=0
        )
        assert (model.head(features) != 1).any()
    layer = next(switch_norms(model))[1]
    assert layer.momentum == (0.003 if norm == 'ssn' else 0.1)
    assert model.backbone.maxpool.padding == (0 if norm == 'ssn' else 1)


def test_on_imagenet_lighting_is_the_authors_noise_and_does_not_wrap_around(tmp_path):
    cfg = read(IMAGENET.format('ssn'))
    file = str(tmp_path / 'white.png')
    cv2.imwrite(file, np.full((4, 4, 3), 255, np.uint8))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        from mmpretrain.registry import TRANSFORMS

        load, light = (TRANSFORMS.build(cfg.train_pipeline[place]) for place in (0, 4))
    np.random.seed(0)
    noises = []
    for _ in range(2000):
        sample = light(load(dict(img_path=file)))
        assert sample['img'].dtype == np.float32
        noises.append(sample['img'][0, 0, ::-1] / 255 - 1)  # RGB
    found = torch.tensor(np.stack(noises)).T.cov()
    scaled = EIG_VEC * (0.1 * torch.tensor([0.2175, 0.0188, 0.0045]))[:, None]
    torch.testing.assert_close(found, scaled.T @ scaled, atol=2e-5, rtol=0.1)


@pytest.mark.parametrize('norm', ['sn', 'ssn'])
def test_on_ade20k_sizes_dilations_and_decays_are_the_codes(norm):
    cfg = read(ADE20K.format(norm))
    model, groups = groups_of(cfg)
    for layer, half in ((model.backbone.layer3, 1), (model.backbone.layer4, 2)):
        assert [block.conv2.dilation[0] for block in list(layer)[:2]] == [half, 2 * half]
    assert model.auxiliary_head.convs[0].conv.out_channels == 512
    normal = {id(p) for m in model.modules() if isinstance(m, SwitchNorm) for p in m.parameters()}
    for name, param in model.named_parameters():
        free = id(param) in normal or name.endswith('.bias')
        rate = 0.002 if norm == 'ssn' and name.endswith('ratio_logits') else 0.02
        assert groups[name] == (rate, 0 if free else 1e-4), name


@pytest.mark.parametrize('norm', ['sn', 'ssn'])
def test_on_cityscapes_heads_learn_at_ten_times_the_rate(norm):
    cfg = read(CITYSCAPES.format(norm))
    model, groups = groups_of(cfg)
    for name, (rate, _) in groups.items():
        own = 0.1 if norm == 'ssn' and name.endswith('ratio_logits') else 1
        assert rate == pytest.approx(own * (0.01 if 'backbone' in name else 0.1)), name
    for head in (model.decode_head, model.auxiliary_head):
        assert (head.align_corners, head.dropout.p) == (True, 0.1)
    assert (model.test_cfg.mode, model.test_cfg.stride) == ('slide', (476, 476))


@pytest.mark.mmaction
def test_on_kinetics_the_first_pooling_takes_the_larger_of_two_frames():
    cfg = read(KINETICS)
    with DefaultScope.overwrite_default_scope('mmaction'):
        pool = MODELS.build(cfg.model.backbone).maxpool
    x = torch.zeros(1, 1, 4, 7, 7)
    x[0, 0, 1, 1, 1] = 1
    y = nn.functional.max_pool3d(x, (2, 3, 3), 2)
    assert y.shape == (1, 1, 2, 3, 3)
    assert torch.equal(pool(x), y)
    assert pool(x)[0, 0, 0, 0, 0] == 1


def picture(path, size=(96, 64), labels=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, labels or 256, (size[1], size[0], *[3] * (not labels)), np.uint8)
    cv2.imwrite(str(path), drawn)


def run(cfg, tmp_path, **options):
    """Trains and validates a leaf on a small ResNet-18, in this process."""
    cfg.work_dir = str(tmp_path / 'run')
    cfg.experiment_name = tmp_path.name
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(tmp_path / 'data')
    cfg.merge_from_dict(options)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert all(layer.selected for _, layer in switch_norms(runner.model))
    return runner


def test_the_imagenet_recipe_trains_and_takes_another_crop_in_the_last_epochs(tmp_path):
    for split in ('train', 'val'):
        for label in range(2):
            picture(tmp_path / f'data/{split}/n{label}/{split}_{label}.JPEG', (300, 260))
    runner = run(
        read(IMAGENET.format('ssn')),
        tmp_path,
        **{
            'model.backbone.depth': 18,
            'model.head.in_channels': 512,
            'train_cfg.max_epochs': 2,
            'train_dataloader.batch_size': 2,
            **{
                f'{name}_dataloader.dataset.metainfo': dict(classes=['a', 'b'])
                for name in ('train', 'val', 'test')
            },
            'default_hooks.last_epochs.schedule.0.action_epoch': 2,
            'default_hooks.checkpoint.save_best': None,
        },
    )
    steps = [type(step).__name__ for step in runner.train_dataloader.dataset.pipeline.transforms]
    assert steps == [
        'LoadImageFromFile', 'ResizeEdge', 'RandomCrop', 'RandomFlip', 'ColorJitter', 'Lighting',
        'PackInputs',
    ]  # fmt: skip
    sample = runner.train_dataloader.dataset[0]
    assert sample['inputs'].shape == (3, 224, 224)


@pytest.mark.mmaction
def test_the_kinetics_recipe_trains_and_tests_three_crops_of_each_clip(tmp_path):
    cfg = read(KINETICS)
    for split in ('train', 'val'):
        path = tmp_path / f'data/videos_{split}/abseiling/a.mp4'
        path.parent.mkdir(parents=True)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 30, (96, 64))
        for frame in range(40):
            writer.write(np.full((64, 96, 3), 5 * frame, np.uint8))
        writer.release()
        lists = tmp_path / f'data/kinetics400_{split}_list_videos.txt'
        lists.write_text('abseiling/a.mp4 3\n' * 2)
    options = {'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2}
    options |= {'train_dataloader.batch_size': 2, 'default_hooks.checkpoint.save_best': None}
    for name in ('train', 'val', 'test'):
        options[f'{name}_dataloader.dataset.pipeline.1.clip_len'] = 16
    options |= {
        'train_dataloader.dataset.pipeline.3.scale_range': (40, 48),
        'train_dataloader.dataset.pipeline.4.size': 32,
        'val_dataloader.dataset.pipeline.3.scale': (-1, 40),
        'val_dataloader.dataset.pipeline.4.crop_size': 32,
    }
    runner = run(cfg, tmp_path, **options)
    sample = runner.build_dataloader(cfg.test_dataloader).dataset[0]
    assert sample['inputs'].shape == (10 * 3, 3, 16, 256, 256)


@pytest.mark.parametrize('stem', [ADE20K.format('ssn'), CITYSCAPES.format('ssn')])
def test_the_segmentation_recipes_train_and_test_on_their_layouts(stem, tmp_path):
    cfg = read(stem)
    ends = ('.jpg', '.png')
    if 'cityscapes' in stem:
        ends = ('_leftImg8bit.png', '_gtFine_labelTrainIds.png')
    for name, sizes in (('train', ((96, 64), (64, 96))), ('val', ((90, 62),))):
        folders = cfg[f'{name}_dataloader'].dataset.data_prefix
        for number, size in enumerate(sizes):
            picture(tmp_path / 'data' / folders.img_path / f'{number}{ends[0]}', size)
            labels = tmp_path / 'data' / folders.seg_map_path / f'{number}{ends[1]}'
            picture(labels, size, labels=19)
    options = {
        'model.backbone.depth': 18,
        'model.decode_head.in_channels': 512,
        'model.auxiliary_head.in_channels': 256,
        'train_cfg.max_iters': 2,
        'train_cfg.val_interval': 2,
        'default_hooks.checkpoint.save_best': None,
    }
    if 'cityscapes' in stem:
        options |= {
            'train_dataloader.dataset.pipeline.2.scale': (96, 64),
            'train_dataloader.dataset.pipeline.6.crop_size': (65, 65),
            'model.data_preprocessor.size': (65, 65),
            'model.test_cfg.crop_size': (65, 65),
            'model.test_cfg.stride': (44, 44),
            'val_dataloader.dataset.pipeline.1.scale': (96, 64),
        }
    else:
        options['train_dataloader.dataset.pipeline.2.scales'] = [48, 72]
        options['val_dataloader.dataset.pipeline.1.scale'] = (100, 62)
    runner = run(cfg, tmp_path, **options)
    assert 0 <= runner.message_hub.get_scalar('val/mIoU').current() <= 100
    resizes = cfg.tta_pipeline[1].transforms[0]
    assert len(resizes) == 4
    for resize, side in zip(resizes, (30, 40, 50, 60), strict=True):
        resize.update({} if 'cityscapes' in stem else dict(scale=(100, side)))
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.model = dict(cfg.tta_model, module=cfg.model)
    cfg.experiment_name += '_tta'
    assert 0 <= Runner.from_cfg(cfg).test()['mIoU'] <= 100
