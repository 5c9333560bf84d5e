# All that table 5 shares: 8 GPUs. Leaves add the norm, videos a GPU, learning rate and schedule.
# To start from 2D ImageNet weights: --cfg-options model.backbone.pretrained=FILE
_base_ = [
    '../_base_/models/i3d_r50.py',
    '../_base_/datasets/kinetics400_32x2.py',
    '../_base_/default_runtime.py',
]
default_scope = 'mmaction'
default_hooks = dict(
    checkpoint=dict(save_best='auto'),
    # before each validation, and in the end: 200 iterations of 8 GPUs, as in Non-local networks
    precise_stats=dict(type='PreciseStatsHook', num_batches=200 * 8),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='ActionVisualizer', vis_backends=vis_backends)
