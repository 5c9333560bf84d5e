_base_ = ['./_deeplab_digits_.py', '../_base_/norms/ln.py']
norm = dict(norm_cfg=_base_.norm_cfg)
model = dict(backbone=norm, decode_head=norm, auxiliary_head=norm)
