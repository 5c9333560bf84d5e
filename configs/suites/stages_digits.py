# One stage or two in small: the second is a fifth of the first, at a hundredth of its rate.
_base_ = './_resnet_digits_.py'
title = 'One stage or two in small, ResNet-18 on digits'
configs = {
    'SN': '../demo/resnet_sn_digits.py',
    'SSN': '../demo/resnet_ssn_digits.py',
    'argmax of SN': dict(
        config='../demo/resnet_ssn_digits.py',
        options={
            'custom_hooks.0.schedule': 'constant',
            'optim_wrapper.optimizer.lr': 4e-5,
            'param_scheduler': [dict(type='CosineAnnealingLR', T_max=125, by_epoch=False)],
            'train_cfg': dict(max_epochs=1, val_interval=1),
            'default_hooks.checkpoint': dict(interval=1),
        },
    ),
}
after = {'argmax of SN': 'SN'}
twin = 'stages_imagenet.py'
