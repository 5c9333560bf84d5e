_base_ = ['./_primitive_imagenet_.py', '../_base_/norms/ssn.py']
model = dict(backbone=dict(norm_cfg=_base_.norm_cfg))
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=0.001))
load_from = 'work_dirs/resnet50_sn_8xb32-100e_imagenet/epoch_100.pth'
custom_hooks = [dict(type='SSNRadiusHook', schedule='constant')]  # SN's argmax, fixed at once
param_scheduler = [dict(type='CosineAnnealingLR', T_max=20, by_epoch=True)]
train_cfg = dict(max_epochs=20)
