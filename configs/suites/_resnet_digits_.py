# What the classification suites on digits share: the demo's network, 2000 pictures of 32x32, eighty
# epochs whatever the batch is. The rate rises over the first four and falls to 0 over the others.
# Trainings load their pictures themselves: two at a time, a thread each, leave no core for others.
seeds = [0, 1, 2, 3, 4]
metrics = ['accuracy/top1']
options = {
    **{
        f'{loader}_dataloader.dataset.{key}': value
        for loader in ('train', 'val', 'test')
        for key, value in dict(
            data_root='data/digits/imagenet_2000', num_train=2000, num_val=2000
        ).items()
    },
    'train_dataloader.dataset.pipeline.1.scale': 32,
    **{
        f'{loader}_dataloader.dataset.pipeline': [
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=32),
            dict(type='PackInputs'),
        ]
        for loader in ('val', 'test')
    },
    **{f'{loader}_dataloader.num_workers': 0 for loader in ('train', 'val', 'test')},
    **{f'{loader}_dataloader.persistent_workers': False for loader in ('train', 'val', 'test')},
    'optim_wrapper.optimizer.fused': True,
    **{f'param_scheduler.{i}.by_epoch': True for i in (0, 1)},
    **{f'param_scheduler.{i}.convert_to_iter_based': True for i in (0, 1)},
    'param_scheduler.0.end': 4,
    'param_scheduler.1.begin': 4,
    'param_scheduler.1.end': 80,
    'param_scheduler.1.T_max': 76,
    'train_cfg.max_epochs': 80,
    'train_cfg.val_interval': 16,
    'default_hooks.checkpoint.interval': 80,
    'log_processor.custom_cfg': [
        dict(data_src='accuracy_top-1', method_name='mean', window_size=20)
    ],
    'log_processor.window_size': 20,
}
