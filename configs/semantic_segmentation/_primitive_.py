# What all rows of table 4 share. To start from ImageNet weights, mmpretrain's (SSN from SN's):
# --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.prefix=backbone \
#     model.backbone.init_cfg.checkpoint=FILE
_base_ = ['../_base_/models/deeplab_r50.py', '../_base_/default_runtime.py']
default_scope = 'mmseg'
default_hooks = dict(
    checkpoint=dict(save_best='mIoU'), visualization=dict(type='SegVisualizationHook')
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
