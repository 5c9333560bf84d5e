"""A demo's training of a thousand iterations that writes down what it holds."""

import gc
import json
import os
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

ROOT = Path(__file__).parents[2]
EVERY = 20  # iterations between two looks, and between two records of the hooks
LEAKS = ('batches', 'ratios', 'graphs')


@HOOKS.register_module()
class Holdings(Hook):
    """Appends what the process holds to ``holdings.jsonl``; keeps a ``leak`` of each iteration."""

    priority = 'LOWEST'

    def __init__(self, leak=None):
        self.leak, self.kept = leak, []

    def before_train(self, runner):
        self.layers = [m for m in runner.model.modules() if hasattr(m, 'ratio_logits')]
        gc.collect()
        gc.freeze()  # so that only what comes is counted

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.leak == 'batches':
            self.kept.append(data_batch)
        elif self.leak is not None:
            ratios = [layer.ratios() for layer in self.layers]
            self.kept += ratios if self.leak == 'graphs' else [p.detach() for p in ratios]
        if self.every_n_train_iters(runner, EVERY):
            with open(Path(runner.work_dir) / 'holdings.jsonl', 'a') as file:
                file.write(json.dumps(dict(iter=runner.iter + 1, **_holdings())) + '\n')


def _holdings():
    gc.collect()
    resident, shared = map(int, Path('/proc/self/statm').read_text().split()[1:3])
    return dict(
        memory=(resident - shared) * os.sysconf('SC_PAGE_SIZE'),
        objects=len(gc.get_objects()),
        files=len(os.listdir('/proc/self/fd')),
        threads=len(os.listdir('/proc/self/task')),
    )


def train(folder, iterations, leak=None):
    """The classification demo with small pictures and batches, with all hooks."""
    import torch

    from ssn_mm.cli.config import load_config
    from ssn_mm.cli.train import train as run_training

    output = os.open(folder / 'output', os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(1)
    epochs, batch = 10, 4
    options = {
        'train_cfg.max_epochs': epochs,
        'train_cfg.val_interval': epochs,
        'train_dataloader.batch_size': batch,
        'train_dataloader.dataset.pipeline.1.scale': 32,
        'default_hooks.logger.interval': EVERY,
        'default_hooks.checkpoint': dict(
            by_epoch=False, interval=iterations // 10, max_keep_ckpts=-1
        ),
        'model.backbone.base_channels': 8,
        'model.backbone.stem_channels': 8,
        'model.backbone.num_stages': 1,
        'model.backbone.strides': (1,),
        'model.backbone.dilations': (1,),
        'model.backbone.out_indices': (0,),
        'model.head.in_channels': 8,
    }
    for loader in ('train', 'val', 'test'):
        dataset = f'{loader}_dataloader.dataset'
        options[f'{dataset}.data_root'] = str(folder / 'data')
        options[f'{dataset}.num_train'] = iterations // epochs * batch
        options[f'{dataset}.num_val'] = 10
    cfg = load_config(str(ROOT / 'configs/demo/resnet_ssn_digits.py'), str(folder / 'run'), options)
    cfg.custom_hooks = [
        *(dict(hook, interval=EVERY) for hook in cfg.custom_hooks),
        dict(type='EMAHook'),
        dict(type='Holdings', leak=leak),
    ]
    run_training(cfg)
