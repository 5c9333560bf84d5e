# What the segmentation demos share: DeepLab on a small ResNet-18, minutes on two CPU cores. It
# starts from noise, so AdamW takes the place of SGD, and background, most of the pixels, weighs
# less; all else is the paper's model.
_base_ = [
    '../_base_/models/deeplab_r50.py',
    '../_base_/datasets/digits_seg.py',
    '../_base_/schedules/poly_100k.py',
    '../_base_/default_runtime.py',
]
default_scope = 'mmseg'
custom_imports = dict(imports=['ssn_mm', 'ssn_mm.datasets.digits.segmentation'])
# summed: mmseg's average of weighted classes fails where pixels are ignored (label 255)
loss = dict(class_weight=[0.3] + [1.0] * 10, reduction='sum')
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(depth=18, base_channels=32, stem_channels=32),
    decode_head=dict(
        in_channels=256, channels=128, num_classes=11, loss_decode=dict(loss_weight=3e-5, **loss)
    ),
    auxiliary_head=dict(
        in_channels=128, channels=64, num_classes=11, loss_decode=dict(loss_weight=1.2e-5, **loss)
    ),
)
train_dataloader = dict(batch_size=16)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=0.003, weight_decay=1e-4),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, begin=0, end=60, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=60, end=600, by_epoch=False),
]
randomness = dict(seed=0)
train_cfg = dict(max_iters=600, val_interval=300)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=100),
    visualization=dict(type='SegVisualizationHook'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
