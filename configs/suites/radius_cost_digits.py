# What the early mixture costs: radii from 0 and from half of r_i, and SSN from a trained SN, both
# together as long as one of the others. Not of the paper.
_base_ = './_resnet_digits_.py'
title = 'What the early mixture costs, ResNet-18 on digits'
half = {
    'param_scheduler.1.end': 40,
    'param_scheduler.1.T_max': 36,
    'train_cfg.max_epochs': 40,
    'train_cfg.val_interval': 8,
    'default_hooks.checkpoint.interval': 40,
}
configs = {
    'from 0': dict(config='../demo/resnet_ssn_digits.py', recipe='SSN'),
    'from r_i/2': dict(
        config='../demo/resnet_ssn_digits.py',
        recipe='SSN',
        options={'custom_hooks.0.schedule': dict(_delete_=True, type='linear', start=0.204)},
    ),
    'SN, half': dict(config='../demo/resnet_sn_digits.py', recipe='SN', options=half),
    'SSN from SN, half': dict(config='../demo/resnet_ssn_digits.py', recipe='SSN', options=half),
}
del half
after = {'SSN from SN, half': 'SN, half'}
recipes = 'recipes/resnet_32_digits.json'
longer = 'radius_cost_longer_digits'
