# Whether table 4 in small has converged: the same trainings twice as long, the schedule stretched.
_base_ = './table4_digits.py'
title = 'Table 4 in small, twice as long'
options = {
    'param_scheduler.0.end': 240,
    'param_scheduler.1.begin': 240,
    'param_scheduler.1.end': 2400,
    'train_cfg.max_iters': 2400,
    'train_cfg.val_interval': 480,
    'default_hooks.checkpoint.interval': 2400,
}
seeds = [0, 1, 2]
