# All that table 4's ADE20K rows share: 8 GPUs x 2 images. Leaves add the norm and learning rate.
_base_ = [
    '../_base_/models/deeplab_r50.py',
    '../_base_/datasets/ade20k_450.py',
    '../_base_/schedules/poly_100k.py',
    '../_base_/default_runtime.py',
]
default_scope = 'mmseg'
model = dict(data_preprocessor=dict(size=(450, 450)))
default_hooks = dict(
    checkpoint=dict(save_best='mIoU'), visualization=dict(type='SegVisualizationHook')
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
