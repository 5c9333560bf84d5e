_base_ = ['./_primitive_imagenet_authors_.py', '../_base_/norms/ssn.py']
# utils/sparse_switchable_norm.py: momentum=0.997, which is a decay
norm_cfg = dict(**_base_.norm_cfg, momentum=0.003)
# models/resnet_v1_ssn.py: nn.MaxPool2d(kernel_size=3, stride=2, padding=0, ceil_mode=True)
model = dict(backbone=dict(type='AuthorsResNet', norm_cfg=norm_cfg))
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=0.1))
