# What the trainings from noise on solar cells share: a narrow ResNet-18, ten epochs.
_base_ = './_efficientnet_solar_.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=18,
        base_channels=16,
        stem_channels=16,
        zero_init_residual=True,
    ),
    head=dict(in_channels=128),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, T_max=9, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=10, val_interval=5)
default_hooks = dict(checkpoint=dict(interval=10))
