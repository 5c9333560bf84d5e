_base_ = ['./_deeplab_digits_.py', '../_base_/norms/gn.py']
# 32 groups would be IN in the layers of 32 channels
norm = dict(norm_cfg=dict(_base_.norm_cfg, num_groups=8))
model = dict(backbone=norm, decode_head=norm, auxiliary_head=norm)
