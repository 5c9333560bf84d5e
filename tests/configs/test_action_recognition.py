"""Table 5 as configs: the grid, and the paper's settings read back from what a runner builds."""

import re
from pathlib import Path

import cv2
import mmaction.models  # noqa: F401, registers
import numpy as np
import pytest
import torch
from mmaction.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, PARAM_SCHEDULERS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from ssn_mm import SN, SSN

CONFIGS = Path(__file__).parents[2] / 'configs'
LEAVES = sorted((CONFIGS / 'action_recognition').glob('[!_]*_kinetics400.py'))
MAIN_CONFIG = CONFIGS / 'i3d_ssn_kinetics400.py'
NORM = {'bn': nn.BatchNorm3d, 'gn': nn.GroupNorm, 'sn': SN, 'ssn1': SSN, 'ssn2': SSN}
LEAF = 'i3d_r50_{}_8xb{}-32x2-{}k_kinetics400'
ids = {'ids': lambda p: p.stem}


@pytest.fixture(autouse=True)
def _mmaction():
    with DefaultScope.overwrite_default_scope('mmaction'):
        yield


def parts(path):
    """Norm, videos a GPU and thousands of iterations of a leaf's name."""
    found = re.fullmatch(LEAF.format(r'(\w+)', r'(\d)', r'(\d+)'), path.stem)
    return found[1], int(found[2]), int(found[3])


def test_the_grid_is_table_5():
    expected = {LEAF.format(norm, *batch) for norm in NORM for batch in ((8, 400), (4, 600))}
    assert {path.stem for path in LEAVES} == expected


@pytest.mark.parametrize('path', [*LEAVES, MAIN_CONFIG], **ids)
def test_every_leaf_builds_with_its_norm_in_all_53_layers_and_the_papers_groups(path):
    norm, videos, thousands = ('ssn2', 8, 400) if path == MAIN_CONFIG else parts(path)
    cfg = Config.fromfile(path)
    model = MODELS.build(cfg.model)
    model.init_weights()
    kinds = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, SN, SSN)
    layers = [m for m in model.modules() if isinstance(m, kinds)]
    assert len(layers) == 53
    assert {type(m) for m in layers} == {NORM[norm]}
    assert {getattr(m, 'num_groups', 32) for m in layers} == {32}
    assert all((m.weight == 1).all() for m in layers)
    rate = 0.01 * videos / 8
    names = {id(p): name for name, p in model.named_parameters()}
    normal = {names[id(p)] for layer in layers for p in layer.parameters()}
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    seen = [(group, names[id(p)]) for group in groups for p in group['params']]
    assert len(seen) == len(names)
    assert sum(name.endswith('ratio_logits') for _, name in seen) == 53 * ('s' in norm)
    for group, name in seen:
        ratio = name.endswith('ratio_logits')
        decay = 0 if name in normal else 1e-4  # of γ, β and ratios
        expected = (rate * 0.1 if ratio and norm != 'sn' else rate, decay)
        assert (group['lr'], group['weight_decay']) == pytest.approx(expected), name
        assert (group['momentum'], group['nesterov']) == (0.9, True)
    assert cfg.train_dataloader.batch_size == videos
    assert cfg.train_cfg.max_iters == thousands * 1000
    assert not cfg.auto_scale_lr.enable
    # Non-local networks' 200 iterations of 8 GPUs, before each validation
    assert cfg.default_hooks.precise_stats == dict(type='PreciseStatsHook', num_batches=1600)


@pytest.mark.parametrize('path', LEAVES, **ids)
def test_the_learning_rate_follows_non_local_networks_schedule_for_the_batch(path):
    cfg = Config.fromfile(path)
    model = nn.Sequential(SSN(2), nn.Linear(2, 2))
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    (policy,) = cfg.param_scheduler
    scheduler = PARAM_SCHEDULERS.build(policy, default_args=dict(optimizer=wrapper))
    assert not scheduler.by_epoch
    first, second, end = {8: (150_000, 300_000, 400_000), 4: (300_000, 500_000, 600_000)}[
        parts(path)[1]
    ]
    assert cfg.train_cfg.max_iters == end
    rate = cfg.optim_wrapper.optimizer.lr
    for iteration, factor in (
        (first - 1, 1), (first, 0.1), (second - 1, 0.1), (second, 0.01), (end - 1, 0.01),
    ):  # fmt: skip
        scheduler.last_step = iteration - 1  # nothing happens in between
        wrapper.optimizer.step()
        scheduler.step()
        found = {round(group['lr'], 10) for group in wrapper.param_groups}
        assert sorted(found) == pytest.approx([rate * factor * 0.1, rate * factor]), iteration


@pytest.mark.parametrize('path', LEAVES, **ids)
def test_ssn2_grows_its_radius_over_the_training_and_ssn1_has_selected_before(path):
    norm, _, _ = parts(path)
    hooks = [HOOKS.build(hook) for hook in Config.fromfile(path).get('custom_hooks', [])]
    assert len(hooks) == norm.startswith('s')
    for hook in hooks if norm.startswith('ssn') else []:
        radii = [hook.schedule(p) for p in (0, 0.41, 1)]
        assert radii == ([1, 1, 1] if norm == 'ssn1' else [0, 0.41, 1])


@pytest.fixture(scope='module')
def runner(tmp_path_factory):
    """The config of SSN on Kinetics, with a video of 120 frames in each list."""
    folder = tmp_path_factory.mktemp('i3d')
    cfg = Config.fromfile(MAIN_CONFIG)
    for split in ('train', 'val'):
        path = folder / f'videos_{split}' / 'abseiling' / 'a.mp4'
        path.parent.mkdir(parents=True)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 30, (96, 64))
        for frame in range(120):
            writer.write(np.full((64, 96, 3), 2 * frame, np.uint8))
        writer.release()
        (folder / f'kinetics400_{split}_list_videos.txt').write_text('abseiling/a.mp4 3\n')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(folder)
        loader.update(num_workers=0, persistent_workers=False)
    cfg.work_dir = str(folder / 'run')
    return Runner.from_cfg(cfg)


def test_the_main_config_is_ssn2_at_8_videos():
    cfg = Config.fromfile(MAIN_CONFIG)
    assert cfg.work_dir == 'work_dirs/i3d_ssn_kinetics400'
    leaf = Config.fromfile(CONFIGS / 'action_recognition' / f'{LEAF.format("ssn2", 8, 400)}.py')
    cfg.pop('work_dir')
    assert cfg.to_dict() == leaf.to_dict()


def frames_of(sample):
    """Numbers of a sample's frames clip by clip; the grey level tells them, within 2 or so."""
    return (sample['inputs'].float().mean((1, 3, 4)) / 2).round().int().tolist()


def test_a_training_clip_is_32_frames_with_a_one_frame_gap_cropped_to_224(runner):
    dataset = runner.build_dataloader(runner.cfg.train_dataloader).dataset
    starts = set()
    for _ in range(4):
        sample = dataset[0]
        assert sample['inputs'].shape == (1, 3, 32, 224, 224)
        (frames,) = frames_of(sample)
        assert frames[-1] - frames[0] == pytest.approx(31 * 2, abs=4)
        starts.add(frames[0])
    assert len(starts) > 1
    assert sample['data_samples'].gt_label.tolist() == [3]
    rescale, crop = runner.cfg.train_dataloader.dataset.pipeline[3:5]
    assert (rescale.type, rescale.scale_range) == ('RandomRescale', (256, 320))
    assert (crop.type, crop.size) == ('RandomCrop', 224)


def test_a_test_takes_10_clips_spread_over_the_video_in_whole_frames_of_short_side_256(runner):
    sample = runner.build_dataloader(runner.cfg.test_dataloader).dataset[0]
    assert sample['inputs'].shape == (10, 3, 32, 256, 384)
    starts = [clip[0] for clip in frames_of(sample)]
    latest = 120 - (31 * 2 + 1)
    assert starts == pytest.approx([latest * clip / 9 for clip in range(10)], abs=3)


def test_a_tests_scores_are_the_mean_of_the_clips_softmax_scores(runner):
    head = runner.model.cls_head
    scores = 10 * np.random.default_rng(0).standard_normal((10, 400))
    each = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    mean = head.average_clip(torch.tensor(scores), num_segs=10)
    np.testing.assert_allclose(mean[0].numpy(), each.mean(0), rtol=1e-6)


def test_validation_takes_the_middle_clip_and_crop(runner):
    dataset = runner.build_dataloader(runner.cfg.val_dataloader).dataset
    assert dataset[0]['inputs'].shape == (1, 3, 32, 224, 224)
    assert DATASETS.get('VideoDataset') is type(dataset)


def test_the_network_is_the_papers_i3d(runner):
    backbone = runner.model.backbone
    assert backbone.conv1.conv.kernel_size == (5, 7, 7)
    inflated = [
        [block.conv1.conv.kernel_size for block in getattr(backbone, layer)]
        for layer in backbone.res_layers
    ]
    long, flat = (3, 1, 1), (1, 1, 1)
    assert inflated == [
        [long, long, long],
        [long, flat, long, flat],
        [long, flat, long, flat, long, flat],
        [flat, long, flat],
    ]
    assert runner.model.cls_head.fc_cls.out_features == 400
    assert runner.model.cls_head.dropout.p == 0.5
    assert backbone.pretrained is None
