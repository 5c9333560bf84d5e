# What the segmentation demos share: the paper's network at a quarter of its width, 128x128 scenes.
_base_ = [
    '../_base_/models/deeplab_r50.py',
    '../_base_/datasets/digits_seg.py',
    '../_base_/schedules/poly_100k.py',
    '../_base_/default_runtime.py',
]
default_scope = 'mmseg'
custom_imports = dict(imports=['ssn_mm', 'ssn_mm.datasets.segmentation'])
model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(base_channels=16, stem_channels=16),
    decode_head=dict(in_channels=512, channels=128, num_classes=11),
    auxiliary_head=dict(in_channels=256, channels=64, num_classes=11),
)
train_dataloader = dict(batch_size=8)
optim_wrapper = dict(optimizer=dict(lr=0.02))
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=400, by_epoch=False)]
train_cfg = dict(max_iters=400, val_interval=200)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=100),
    visualization=dict(type='SegVisualizationHook'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
