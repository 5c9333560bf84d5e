# Radius schedules in small: r_i is reached at 40 to 70 % of the training.
_base_ = './_resnet_digits_.py'
title = 'Radius schedules in small, ResNet-18 SSN on digits'
configs = {
    f'r_i at {percent} %': dict(
        config='../demo/resnet_ssn_digits.py',
        recipe='SSN',
        options={
            'custom_hooks.0.schedule': dict(_delete_=True, type='linear_through', at=percent / 100)
        },
    )
    for percent in (40, 50, 60, 70)
}
recipes = 'recipes/resnet_32_digits.json'
longer = 'radius_longer_digits'
twin = 'radius_imagenet.py'
