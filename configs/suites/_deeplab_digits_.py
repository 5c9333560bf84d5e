# What the segmentation suites on digits share: the demo with half of its channels, twice as long.
configs = {
    norm.upper(): f'../demo/deeplab_{norm}_digits.py'
    for norm in ('bn', 'in', 'ln', 'gn', 'sn', 'ssn')
}
seeds = [0, 1, 2, 3, 4]
metrics = ['mIoU']
options = {
    'model.backbone.base_channels': 16,
    'model.backbone.stem_channels': 16,
    'model.decode_head.in_channels': 128,
    'model.decode_head.channels': 64,
    'model.auxiliary_head.in_channels': 64,
    'model.auxiliary_head.channels': 32,
    **{f'{loader}_dataloader.num_workers': 0 for loader in ('train', 'val', 'test')},
    **{f'{loader}_dataloader.persistent_workers': False for loader in ('train', 'val', 'test')},
    'optim_wrapper.optimizer.fused': True,
    'param_scheduler.0.end': 120,
    'param_scheduler.1.begin': 120,
    'param_scheduler.1.end': 1200,
    'train_cfg.max_iters': 1200,
    'train_cfg.val_interval': 240,
    'default_hooks.checkpoint.interval': 1200,
    'log_processor.custom_cfg': [
        dict(data_src='decode.acc_seg', method_name='mean', window_size=20)
    ],
}
