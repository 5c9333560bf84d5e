_base_ = ['./_primitive_imagenet_authors_.py', '../_base_/norms/sn.py']
model = dict(backbone=dict(norm_cfg=_base_.norm_cfg))  # momentum=0.9 as a decay: the default
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=0.1))
