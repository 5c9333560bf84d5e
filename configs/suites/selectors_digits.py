# Selectors, each with the rate that selectors_search_digits found for it, ResNet-18 on digits.
_base_ = './_resnet_digits_.py'
title = 'Selectors: how logits become ratios, ResNet-18 SSN on digits'
rates = {
    'sparsestmax': 1,
    'softmax': 1,
    'sparsemax': 10,
    'entmax15': 1,
    'gumbel': 10,
    'softmax+entropy': 10,
}
configs = {
    name: dict(
        config='../demo/resnet_ssn_digits.py',
        recipe='SSN',
        options={
            'model.backbone.norm_cfg.selector': name,
            'custom_hooks.0.soft_metrics': True,
            'optim_wrapper.paramwise_cfg.ratio_lr_mult': rate,
        },
    )
    for name, rate in rates.items()
}
del rates
metrics = ['accuracy/top1', 'soft/accuracy/top1']
recipes = 'recipes/resnet_32_digits.json'
longer = 'selectors_longer_digits'
