# Whether table 5 in small has converged: the same trainings twice as long, the schedule stretched.
_base_ = './table5_digits.py'
title = 'Table 5 in small, twice as long'
options = {
    'param_scheduler.0.end': 240,
    'param_scheduler.1.begin': 240,
    'param_scheduler.1.end': 3200,
    'train_cfg.max_iters': 3200,
    'train_cfg.val_interval': 640,
    'default_hooks.checkpoint.interval': 3200,
}
seeds = [0, 1, 2]
