_base_ = ['./_primitive_.py', '../_base_/schedules/step_600k.py', '../_base_/norms/ssn.py']
model = dict(backbone=dict(norm_cfg=_base_.norm_cfg_3d))
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(lr=0.005))
custom_hooks = [dict(type='SSNRadiusHook', schedule='constant')]  # what the 2D SSN selected stays
