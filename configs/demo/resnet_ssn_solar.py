_base_ = ['./_resnet_solar_.py', '../_base_/norms/ssn.py']
model = dict(backbone=dict(norm_cfg=_base_.norm_cfg))
# selects within the first half, so that the other half trains what was selected
custom_hooks = [dict(type='SSNRadiusHook', schedule=dict(type='linear', end=2))]
