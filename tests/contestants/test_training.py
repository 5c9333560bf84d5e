"""Every contestant trains on the three demos."""

import copy

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from narrow import DEMOS, NARROW

from ssn_mm import keep_selected, set_radius
from ssn_mm.cli.config import load_config
from ssn_mm.contestants import contestants
from ssn_mm.suites.norms import norm_overrides

FEW = {
    'train_dataloader.batch_size': 4,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'train_dataloader.dataset.num_train': 20,
    'train_dataloader.dataset.num_val': 20,
}


@pytest.fixture(scope='module', params=['resnet', 'deeplab', 'i3d'])
def demo(request, tmp_path_factory):
    """The narrow config of a demo, and a batch of its data."""
    task = request.param
    if task == 'i3d':
        pytest.importorskip('mmaction')
    options = {**NARROW[task], **FEW}
    options['train_dataloader.dataset.data_root'] = str(tmp_path_factory.mktemp(task) / 'data')
    cfg = load_config(str(DEMOS / f'{task}_bn_digits.py'), options=options)
    init_default_scope(cfg.default_scope)
    MMLogger.get_instance(task).setLevel('WARNING')  # else it logs how weights are initialized
    loader = Runner.build_dataloader(copy.deepcopy(cfg.train_dataloader), seed=0)
    return cfg, next(iter(loader))


@pytest.mark.parametrize('name', contestants())
def test_a_contestant_learns_a_batch_of_a_demo(demo, name):
    cfg, batch = copy.deepcopy(demo)
    cfg.merge_from_dict(
        norm_overrides(cfg, name, dict(num_groups=4, momentum=0.1, steps=[2, 4, 6]))
    )
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    kinds = contestants()[name].layers
    assert sum(isinstance(module, kinds) for module in model.modules()) > 10
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    model.train()
    losses, used = [], set()
    for param in model.parameters():
        param.register_post_accumulate_grad_hook(used.add)
    for step in range(8):
        set_radius(model, step / 7)
        losses.append(model.train_step(copy.deepcopy(batch), wrapper)['loss'].item())
        keep_selected(model)
    assert used == set(model.parameters())  # or a distributed training would wait for the others
    assert losses[-1] < losses[0], losses
