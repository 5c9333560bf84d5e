_base_ = ['./_resnet_digits_.py', '../_base_/norms/sn.py']
model = dict(backbone=dict(norm_cfg=_base_.norm_cfg))
