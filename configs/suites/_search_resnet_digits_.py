# What the searches of recipes share: pictures of glyphs that no reported number is of, and a seed
# of its own, at half the length.
_base_ = './_resnet_norms_digits_.py'
options = {
    **{
        f'{loader}_dataloader.dataset.{key}': value
        for loader in ('train', 'val', 'test')
        for key, value in dict(data_root='data/digits/imagenet_2000_tuning', tuning=True).items()
    },
    'param_scheduler.0.end': 2,
    'param_scheduler.1.begin': 2,
    'param_scheduler.1.end': 40,
    'param_scheduler.1.T_max': 38,
    'train_cfg.max_epochs': 40,
    'train_cfg.val_interval': 40,
    'default_hooks.checkpoint.interval': 40,
}
norm_options = dict(steps=(125, 500, 800))
variant = 'rate'
seeds = [100]
