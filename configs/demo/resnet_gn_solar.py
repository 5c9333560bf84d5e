_base_ = ['./_resnet_solar_.py', '../_base_/norms/gn.py']
# its layers have 16 to 128 channels: 32 groups would be too many or IN
model = dict(backbone=dict(norm_cfg=dict(_base_.norm_cfg, num_groups=8)))
