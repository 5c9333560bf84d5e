_base_ = ['./_primitive_imagenet_authors_.py', '../_base_/norms/sn.py']
# devkit/ops/switchable_norm.py: momentum=0.9, which is a decay: our default
model = dict(backbone=dict(norm_cfg=_base_.norm_cfg))
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=0.1))
