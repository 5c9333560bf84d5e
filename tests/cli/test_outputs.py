"""What trainings and tests write, kept off what they read."""

import pickle
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset

from ssn_mm.cli.config import load_config
from ssn_mm.cli.outputs import (
    DumpResultsAtomically,
    build_runner,
    check_label_maps,
    check_start,
    written_config,
)

DEMO = Path(__file__).parents[2] / 'configs/demo/resnet_ssn_digits.py'
TEXT = f'_base_ = {str(DEMO)!r}\n# a note of its author\n'


def build(file, work_dir, name, training=True):
    """A runner whose config has another length of the training than the file says."""
    options = {'train_cfg.max_epochs': 7, 'experiment_name': name}
    return build_runner(load_config(str(file), str(work_dir), options), training)


def test_a_config_may_do_without_onednn(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, 'enabled', True)  # undone afterwards
    build_runner(load_config(str(DEMO), str(tmp_path / 'on'), {'experiment_name': 'on'}))
    assert torch.backends.mkldnn.enabled
    build_runner(load_config(str(DEMO), str(tmp_path / 'off'), {'env_cfg.mkldnn': False}))
    assert not torch.backends.mkldnn.enabled
    wrong = load_config(str(DEMO), str(tmp_path / 'wrong'), {'env_cfg.mkldnn': 'no'})
    with pytest.raises(ValueError, match=r"env_cfg\.mkldnn must be True or False, got 'no'"):
        build_runner(wrong)


def test_a_config_in_the_work_dir_is_not_replaced_by_what_a_run_makes_of_it(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(TEXT)
    (tmp_path / 'other').symlink_to(tmp_path)
    runner = build(file, tmp_path / 'other', 'aside')
    assert file.read_text() == TEXT
    assert [path.name for path in tmp_path.glob('*.py')] == ['mine.py']
    written = written_config(runner)
    assert written.parent == Path(runner.log_dir)
    assert Config.fromfile(written).train_cfg.max_epochs == 7
    assert runner.cfg.filename == str(file)


def test_what_a_config_inherits_from_is_not_replaced_either(tmp_path):
    (tmp_path / 'shared').mkdir()
    base, file = tmp_path / 'shared/mine.py', tmp_path / 'mine.py'
    base.write_text(TEXT)
    file.write_text("_base_ = 'shared/mine.py'\n")
    runner = build(file, tmp_path / 'shared', 'inherits')
    assert base.read_text() == TEXT
    assert Config.fromfile(written_config(runner)).train_cfg.max_epochs == 7


def test_a_test_does_not_replace_the_config_that_its_training_left(tmp_path):
    file = tmp_path / 'mine.py'
    file.write_text(TEXT)
    runner = build(file, tmp_path / 'run', 'training')
    left = tmp_path / 'run/mine.py'
    assert written_config(runner) == left
    text = left.read_text()
    assert Config.fromfile(left).train_cfg.max_epochs == 7
    tested = load_config(str(file), str(tmp_path / 'run'), {'experiment_name': 'test'})
    build_runner(tested, training=False)
    assert left.read_text() == text


class Named(BaseDataset):
    """Pictures by their paths, with annotations where there are any."""

    def load_data_list(self):
        return [dict(img_path=p, seg_map_path=p.replace('img', 'ann')) for p in self.metainfo['p']]


def named(*pictures):
    return Named(metainfo=dict(p=list(pictures)), pipeline=[])


def test_label_maps_are_not_written_over_pictures_annotations_or_each_other(tmp_path):
    for folder in ('img', 'ann'):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / 'a.png').touch()
    own = named(f'{tmp_path}/img/a.png', f'{tmp_path}/img/a.png')  # one, listed twice
    check_label_maps(own, tmp_path / 'out')
    for folder in ('img', 'ann'):
        with pytest.raises(ValueError, match='would overwrite'):
            check_label_maps(own, tmp_path / folder)
    with pytest.raises(ValueError, match=r'x/a\.jpg and y/a\.jpg have one name'):
        check_label_maps(named('x/a.jpg', 'y/a.jpg'), tmp_path / 'out')


def test_a_training_that_would_write_over_its_start_is_refused(tmp_path):
    start = tmp_path / 'iter_600.pth'
    start.touch()
    loop = dict(max_iters=1000)
    cfg = Config(dict(load_from=str(start), work_dir=str(tmp_path), train_cfg=loop))
    with pytest.raises(ValueError, match=r'would write over .*iter_600\.pth'):
        check_start(cfg)
    check_start(Config({**cfg, 'work_dir': str(tmp_path / 'new')}))
    check_start(Config({**cfg, 'train_cfg': dict(max_epochs=3)}))  # writes epoch_1.pth
    check_start(Config({**cfg, 'load_from': str(tmp_path / 'best_iter_600.pth')}))
    check_start(Config({**cfg, 'load_from': None}))
    start.touch()
    part = dict(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'x/../iter_600.pth')))
    (tmp_path / 'x').mkdir()
    with pytest.raises(ValueError, match=r'would write over .*iter_600\.pth'):
        check_start(Config({**cfg, 'load_from': None, 'model': dict(backbone=part)}))


def test_dumped_predictions_are_those_of_mmengine(tmp_path):
    metric = DumpResultsAtomically(str(tmp_path / 'new/out.pkl'))
    metric.process({}, [dict(label=3)])
    metric.evaluate(1)
    assert pickle.loads((tmp_path / 'new/out.pkl').read_bytes()) == [dict(label=3)]
