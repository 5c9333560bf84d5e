_base_ = ['./_primitive_imagenet_.py', '../_base_/norms/ssn.py']
model = dict(backbone=dict(norm_cfg=_base_.norm_cfg))
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(lr=0.0125))
auto_scale_lr = dict(base_batch_size=32)
