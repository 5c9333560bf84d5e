# GN as a fourth normalizer in small, beside the three.
_base_ = './_resnet_digits_.py'
title = 'Four normalizers in small, ResNet-18 on digits'
configs = {
    **{
        norm.upper(): dict(
            config=f'../demo/resnet_{norm}_digits.py',
            recipe=f'{norm.upper()} with GN',
            options={
                'model.backbone.norm_cfg.normalizers': ('IN', 'LN', 'BN', 'GN'),
                'model.backbone.norm_cfg.num_groups': 8,
            },
        )
        for norm in ('sn', 'ssn')
    },
    **{
        f'{norm.upper()} without GN': dict(
            config=f'../demo/resnet_{norm}_digits.py', recipe=norm.upper()
        )
        for norm in ('sn', 'ssn')
    },
}
recipes = 'recipes/resnet_32_digits.json'
longer = 'gn_longer_digits'
twin = 'gn_imagenet.py'
