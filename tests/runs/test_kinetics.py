"""The whole I3D of table 5 on small videos in Kinetics-400's layout, run as a user runs it."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from demos import next_steps
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from ssn_mm.layers import ssn_layers

pytestmark = pytest.mark.mmaction


ROOT = Path(__file__).parents[2]
MAIN_CONFIG = ROOT / 'configs' / 'i3d_ssn_kinetics400.py'
SSN1 = ROOT / 'configs/action_recognition/i3d_r50_ssn1_8xb8-32x2-400k_kinetics400.py'
TRAIN = 'train_dataloader.dataset.pipeline'
SMALL = [  # clips; the network is whole
    '--cfg-options', 'train_cfg.max_iters=2', 'train_dataloader.batch_size=2',
    f'{TRAIN}.1.clip_len=16', f'{TRAIN}.3.scale_range=(64,80)', f'{TRAIN}.4.size=64',
]  # fmt: skip
for loader in ('val', 'test'):
    pipeline = f'{loader}_dataloader.dataset.pipeline'
    SMALL += [f'{pipeline}.1.clip_len=16', f'{pipeline}.3.scale=(-1,64)']
SMALL.append('val_dataloader.dataset.pipeline.4.crop_size=64')
for loader in ('train', 'val', 'test'):
    SMALL.append(f'{loader}_dataloader.num_workers=1')


@pytest.fixture
def kinetics(tmp_path):
    """A few videos of moving noise, with lists, where the config looks for Kinetics-400."""
    root = tmp_path / 'data' / 'kinetics400'
    rng = np.random.default_rng(0)
    for split, count in (('train', 4), ('val', 2)):
        lines = []
        for index in range(count):
            name = f'{("abseiling", "zumba")[index % 2]}/video_{index:06d}_000010.mp4'
            path = root / f'videos_{split}' / name
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 25, (96, 72))
            picture = cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (96, 72))
            for frame in range(40):
                writer.write(np.roll(picture, frame * (index + 1), axis=1))
            writer.release()
            lines.append(f'{name} {(0, 399)[index % 2]}\n')
        (root / f'kinetics400_{split}_list_videos.txt').write_text(''.join(lines))
    return root


def train(*args):
    return [sys.executable, ROOT / 'tools/train.py', *args]


def logits_of(checkpoint):
    state = torch.load(checkpoint, weights_only=False)['state_dict']
    return {k: v for k, v in state.items() if k.endswith('ratio_logits')}


def test_the_kinetics_config_trains_the_whole_i3d_and_tests_it_on_10_clips(
    run_tool, tmp_path, kinetics
):
    code, output = run_tool(*train(MAIN_CONFIG, '--work-dir', 'run', *SMALL))
    assert code == 0, output[-3000:]
    assert '106 of 106 ratios (mean and variance of 53 SSN layers) are selected' in output
    logits = torch.stack(list(logits_of(tmp_path / 'run/iter_2.pth').values()))
    assert logits.shape == (53, 2, 3)
    assert (logits.sort(-1).values == torch.tensor([0.0, 0, 1])).all()
    arguments = next_steps(output)['test.py']
    code, output = run_tool(
        sys.executable, ROOT / 'tools/test.py', *arguments, '--out', 'scores.pkl'
    )
    assert code == 0, output[-3000:]
    top1, top5 = (float(re.search(rf'acc/top{k}: ([\d.]+)', output)[1]) for k in (1, 5))
    assert 0 <= top1 <= top5 <= 1
    assert (tmp_path / 'scores.pkl').is_file()


def test_ssn1_without_the_selection_of_a_trained_ssn_is_refused(run_tool, kinetics):
    code, output = run_tool(*train(SSN1, '--work-dir', 'run', *SMALL))
    assert code == 2, output[-3000:]
    assert '53 SSN layers prefer nothing, backbone.conv1.bn, ' in output
    assert "pretrained), or let the radius grow: schedule='linear'" in output


def test_ssn1_keeps_the_selection_of_a_trained_2d_ssn(run_tool, tmp_path, kinetics):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        resnet = MODELS.build(dict(type='ResNet', depth=50, norm_cfg=dict(type='SSN')))
    selected = {}
    for name, layer in ssn_layers(resnet):
        layer.ratio_logits.data = torch.eye(3)[torch.randint(3, (2,))]
        selected[name] = layer.ratio_logits
    state = {f'backbone.{name}': value for name, value in resnet.state_dict().items()}
    torch.save({'state_dict': state, 'meta': {}}, tmp_path / 'resnet50_ssn.pth')
    pretrained = 'model.backbone.pretrained=resnet50_ssn.pth'
    code, output = run_tool(*train(SSN1, '--work-dir', 'run', *SMALL, pretrained))
    assert code == 0, output[-3000:]
    assert '106 of 106 ratios' in output
    kept = logits_of(tmp_path / 'run/iter_2.pth')
    for name, value in kept.items():
        name_2d = re.sub(r'^backbone\.(.*)\.ratio_logits$', r'\1', name)
        name_2d = name_2d.replace('downsample.bn', 'downsample.1')
        name_2d = re.sub(r'conv(\d)\.bn', r'bn\1', name_2d)
        torch.testing.assert_close(value, selected[name_2d].data)
    assert len(kept) == len(selected) == 53
