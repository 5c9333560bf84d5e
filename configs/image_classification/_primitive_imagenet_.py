# All that tables 1 and 2 share: 8 GPUs. Leaves add the norm, images a GPU and learning rate.
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/imagenet_224.py',
    '../_base_/schedules/step_100e.py',
    '../_base_/default_runtime.py',
]
default_scope = 'mmpretrain'
default_hooks = dict(
    logger=dict(interval=100, log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=1, save_best='auto'),
    visualization=dict(type='VisualizationHook', enable=False),
)
log_processor = dict(by_epoch=True)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)
