# What the video suites on digits share: the demo, as long as it is.
configs = {
    norm.upper(): f'../demo/i3d_{norm}_digits.py' for norm in ('bn', 'in', 'ln', 'gn', 'sn', 'ssn')
}
seeds = [0, 1, 2, 3, 4]
metrics = ['acc/top1']
options = {
    **{f'{loader}_dataloader.num_workers': 0 for loader in ('train', 'val', 'test')},
    **{f'{loader}_dataloader.persistent_workers': False for loader in ('train', 'val', 'test')},
    'optim_wrapper.optimizer.fused': True,
    'param_scheduler.0.end': 120,
    'param_scheduler.1.begin': 120,
    'param_scheduler.1.end': 1600,
    'train_cfg.max_iters': 1600,
    'train_cfg.val_interval': 320,
    'default_hooks.checkpoint.interval': 1600,
    'log_processor.custom_cfg': [dict(data_src='top1_acc', method_name='mean', window_size=20)],
}
