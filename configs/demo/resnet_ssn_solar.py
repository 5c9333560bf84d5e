_base_ = ['./_resnet_solar_.py', '../_base_/norms/ssn.py']
model = dict(backbone=dict(norm_cfg=_base_.norm_cfg))
