# What the video demos share: I3D on a small ResNet-18, minutes on two CPU cores. It starts from
# noise, so AdamW takes the place of SGD. Clips are short: stem and first stage see motion and keep
# their length, then time is pooled, as in I3D.
_base_ = [
    '../_base_/datasets/digits_video.py',
    '../_base_/schedules/poly_100k.py',
    '../_base_/default_runtime.py',
]
default_scope = 'mmaction'
custom_imports = dict(imports=['ssn_mm', 'ssn_mm.datasets.digits.video'])
model = dict(
    type='Recognizer3D',
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
    backbone=dict(
        type='ResNet3d',
        depth=18,
        pretrained2d=False,
        base_channels=16,
        conv1_kernel=(3, 5, 5),
        inflate=(1, 0, 0, 0),
        zero_init_residual=False,
        conv_cfg=dict(type='Conv3d'),
    ),
    cls_head=dict(
        type='I3DHead',
        num_classes=8,
        in_channels=128,
        dropout_ratio=0.2,
        average_clips='prob',
    ),
)
train_dataloader = dict(batch_size=16)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=0.002, weight_decay=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, begin=0, end=60, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=60, end=1600, by_epoch=False),
]
randomness = dict(seed=0)
train_cfg = dict(max_iters=1600, val_interval=400)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=100))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='ActionVisualizer', vis_backends=vis_backends, name='visualizer')
