_base_ = ['./_primitive_imagenet_.py', '../_base_/norms/ssn.py']
model = dict(backbone=dict(norm_cfg=_base_.norm_cfg))
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=0.1))
# the radius reaches r_i at epoch 70
schedule = dict(type='linear_through', at=0.7)
custom_hooks = [dict(type='SSNRadiusHook', schedule=schedule)]
