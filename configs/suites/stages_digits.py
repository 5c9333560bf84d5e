# One stage or two in small: the second is a fifth of the first, at a hundredth of SN's rate.
# So 'argmax of SN' has 96 epochs in all, and the others 80.
_base_ = './_resnet_digits_.py'
title = 'One stage or two in small, ResNet-18 on digits'
configs = {
    'SN': '../demo/resnet_sn_digits.py',
    'SSN': '../demo/resnet_ssn_digits.py',
    'argmax of SN': dict(
        config='../demo/resnet_ssn_digits.py',
        recipe='SN',
        options={
            'custom_hooks.0.schedule': 'constant',
            'param_scheduler': [
                dict(type='ConstantLR', factor=0.01, by_epoch=False),
                dict(type='CosineAnnealingLR', T_max=1008, by_epoch=False),
            ],
            'train_cfg.max_epochs': 16,
            'default_hooks.checkpoint.interval': 16,
        },
    ),
}
after = {'argmax of SN': 'SN'}
recipes = 'recipes/resnet_32_digits.json'
longer = 'stages_longer_digits'
twin = 'stages_imagenet.py'
