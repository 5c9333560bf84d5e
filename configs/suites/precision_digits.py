# Mixed precision beside float32, not of the paper. Half precision is slow on a CPU, so pictures are
# small and trainings a twentieth of the demo's.
title = 'Precision, ResNet-18 SSN on digits of 32x32'
seeds = [0, 1, 2]
metrics = ['accuracy/top1']
options = {
    'train_dataloader.batch_size': 16,
    'train_dataloader.dataset.pipeline.1.scale': 32,
    **{
        f'{loader}_dataloader.dataset.pipeline': [
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=32),
            dict(type='PackInputs'),
        ]
        for loader in ('val', 'test')
    },
    'train_cfg': dict(max_epochs=1, val_interval=1),
    'param_scheduler.1': dict(end=250, T_max=175),
    'default_hooks.checkpoint': dict(interval=1),
}
configs = {
    'float32': '../demo/resnet_ssn_digits.py',
    **{
        dtype: dict(
            config='../demo/resnet_ssn_digits.py',
            options={'optim_wrapper': dict(type='CPUAmpOptimWrapper', dtype=dtype)},
        )
        for dtype in ('bfloat16', 'float16')
    },
}
