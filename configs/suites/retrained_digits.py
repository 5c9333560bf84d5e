# Whether a selection is worth its network: trained from the first weights with what SSN selected,
# with the same selections at other layers, and with batch norm everywhere. Not of the paper.
_base_ = './_resnet_digits_.py'
title = 'Trained again with a fixed selection, ResNet-18 on digits'
configs = {
    'SSN': '../demo/resnet_ssn_digits.py',
    **{
        label: dict(
            config='../demo/resnet_ssn_digits.py',
            recipe='SSN',
            options={
                'custom_hooks': [
                    dict(type='SSNRadiusHook', schedule='constant', selection='fix'),
                    dict(type='RetrainHook', shuffled=label == 'shuffled'),
                ]
            },
        )
        for label in ('selected', 'shuffled')
    },
    'BN': '../demo/resnet_bn_digits.py',
}
reference = 'selected'
after = {'selected': 'SSN', 'shuffled': 'SSN'}
recipes = 'recipes/resnet_32_digits.json'
longer = 'retrained_longer_digits'
