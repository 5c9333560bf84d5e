# Whether the trainings of solar_cells.py have converged: twice as long, on two of its splits, at
# the smallest batch and the largest.
_base_ = './solar_cells.py'
title = 'EfficientNet-Lite0 from ImageNet on photographs of solar cells, twice as long'
options = {
    'param_scheduler.0.end': 0.4,
    'param_scheduler.1.T_max': 4,
    'train_cfg': dict(max_epochs=4, val_interval=2),
    'default_hooks.checkpoint.interval': 4,
}
variants = {
    '_delete_': True,
    **{
        f'{n}': {'train_dataloader.batch_size': n, 'default_hooks.logger.interval': 160 // n}
        for n in (2, 16)
    },
}
recipes = {'_delete_': True, **{f'{n}': f'recipes/solar_cells_{n}.json' for n in (2, 16)}}
seeds = [0, 1]
