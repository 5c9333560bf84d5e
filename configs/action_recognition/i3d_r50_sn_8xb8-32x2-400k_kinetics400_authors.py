_base_ = ['./_primitive_authors_.py', '../_base_/schedules/step_400k.py', '../_base_/norms/sn.py']
model = dict(backbone=dict(norm_cfg=_base_.norm_cfg_3d))
train_dataloader = dict(batch_size=8)
optim_wrapper = dict(optimizer=dict(lr=0.01))
