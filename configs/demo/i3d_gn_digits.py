_base_ = ['./_i3d_digits_.py', '../_base_/norms/gn.py']
# 32 groups would be more than the first layers' 16 channels
model = dict(backbone=dict(norm_cfg=dict(_base_.norm_cfg_3d, num_groups=8)))
