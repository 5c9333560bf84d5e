# GN as a fourth normalizer in small.
_base_ = './_resnet_digits_.py'
title = 'Four normalizers in small, ResNet-18 on digits'
configs = {
    norm.upper(): dict(
        config=f'../demo/resnet_{norm}_digits.py',
        options={
            'model.backbone.norm_cfg.normalizers': ('IN', 'LN', 'BN', 'GN'),
            'model.backbone.norm_cfg.num_groups': 8,
        },
    )
    for norm in ('sn', 'ssn')
}
recipes = 'recipes/resnet_32_digits.json'
twin = 'gn_imagenet.py'
