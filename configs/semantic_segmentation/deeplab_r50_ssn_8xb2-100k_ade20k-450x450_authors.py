_base_ = ['./_primitive_ade20k_authors_.py', '../_base_/norms/ssn.py']
norm = dict(norm_cfg=_base_.norm_cfg)
model = dict(backbone=norm, decode_head=norm, auxiliary_head=norm)
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(optimizer=dict(lr=0.02))
