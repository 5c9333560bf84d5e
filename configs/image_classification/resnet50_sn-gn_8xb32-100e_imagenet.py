_base_ = ['./_primitive_imagenet_.py', '../_base_/norms/sn.py']
model = dict(backbone=dict(norm_cfg=dict(**_base_.norm_cfg, normalizers=('IN', 'LN', 'BN', 'GN'))))
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=0.1))
