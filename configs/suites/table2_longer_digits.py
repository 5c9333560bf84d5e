# Whether table 2 in small has converged: the same trainings twice as long, the schedule stretched.
_base_ = './table2_digits.py'
title = 'Tables 1 and 2 in small, twice as long'
options = {
    'param_scheduler.0.end': 4,
    'param_scheduler.1.begin': 4,
    'param_scheduler.1.end': 80,
    'param_scheduler.1.T_max': 76,
    'train_cfg.max_epochs': 80,
    'train_cfg.val_interval': 16,
    'default_hooks.checkpoint.interval': 80,
}
norm_options = dict(steps=(250, 1000, 1600))  # of batch renormalization, stretched, too
seeds = [0, 1, 2]
