# What the classification suites on digits share: a quarter of the demo's training.
seeds = [0, 1, 2]
metrics = ['accuracy/top1']
options = {
    'train_cfg': dict(max_epochs=5, val_interval=1),
    'param_scheduler.1': dict(end=625, T_max=550),
    'default_hooks.checkpoint': dict(interval=5),
}
