# What the classification demos share: a small ResNet-18, minutes on two CPU cores. It starts from
# noise and sees few pictures, so AdamW takes the place of SGD; all else is the paper's model.
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/digits_cls.py',
    '../_base_/schedules/step_100e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'mmpretrain'
custom_imports = dict(imports=['ssn_mm', 'ssn_mm.datasets.digits.classification'])
model = dict(
    data_preprocessor=dict(num_classes=10),
    backbone=dict(
        depth=18,
        base_channels=16,
        stem_channels=16,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
    ),
    head=dict(num_classes=10, in_channels=64, topk=(1,)),
)
train_dataloader = dict(batch_size=32)
auto_scale_lr = dict(base_batch_size=32)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=0.004, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, end=75, by_epoch=False),
    dict(type='CosineAnnealingLR', begin=75, end=2500, T_max=2425, by_epoch=False),
]
randomness = dict(seed=0)
train_cfg = dict(max_epochs=20, val_interval=5)
default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=5),
    visualization=dict(type='VisualizationHook', enable=False),
)
log_processor = dict(by_epoch=True)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)
