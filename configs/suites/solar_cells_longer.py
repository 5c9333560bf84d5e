# Whether the trainings of solar_cells.py have converged: twice as long, on the first three splits.
_base_ = './solar_cells.py'
title = 'EfficientNet-Lite0 from ImageNet on photographs of solar cells, twice as long'
options = {
    'param_scheduler.0.end': 0.4,
    'param_scheduler.1.T_max': 4,
    'train_cfg': dict(max_epochs=4, val_interval=2),
    'default_hooks.checkpoint.interval': 4,
}
seeds = [0, 1, 2]
