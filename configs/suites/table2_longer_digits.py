# Whether table 2 in small has converged: the same trainings twice as long, the schedule stretched.
_base_ = './table2_digits.py'
title = 'Tables 1 and 2 in small, twice as long'
options = {
    'param_scheduler.0.end': 8,
    'param_scheduler.1.begin': 8,
    'param_scheduler.1.end': 160,
    'param_scheduler.1.T_max': 152,
    'train_cfg.max_epochs': 160,
    'train_cfg.val_interval': 32,
    'default_hooks.checkpoint.interval': 160,
}
norm_options = dict(steps=(500, 2000, 3200))  # of batch renormalization, stretched, too
seeds = [0, 1, 2]
