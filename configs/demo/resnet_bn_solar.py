_base_ = ['./_resnet_solar_.py', '../_base_/norms/bn.py']
model = dict(backbone=dict(norm_cfg=_base_.norm_cfg))
