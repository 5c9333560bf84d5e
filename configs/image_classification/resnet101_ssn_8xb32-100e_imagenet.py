_base_ = ['./_primitive_imagenet_.py', '../_base_/norms/ssn.py']
model = dict(backbone=dict(depth=101, norm_cfg=_base_.norm_cfg))
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=0.1))
