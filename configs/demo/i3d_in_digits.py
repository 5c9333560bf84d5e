_base_ = ['./_i3d_digits_.py', '../_base_/norms/in.py']
model = dict(backbone=dict(norm_cfg=_base_.norm_cfg_3d))
