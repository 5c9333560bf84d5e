# Whether the ratio logits are too slow to select in so short a training: four rates for three
# starts, on cells that no reported number is of.
_base_ = './solar_search_2.py'
title = (
    'A search of the rate of ratio logits at 2 images a batch, EfficientNet-Lite0 on solar cells'
)
ssn, norms = '../demo/efficientnet_ssn_solar.py', 'model.backbone.convert_norms'
even = {f'{norms}.start': 'even', 'custom_hooks.0.let_go': None}
starts = {'SSN': {}, 'SSN from BN': {f'{norms}.start': 'kept'}, 'SSN even': even}
configs = dict(
    {name: dict(config=ssn, options=own, recipe='SSN') for name, own in starts.items()},
    _delete_=True,
)
recipes = 'recipes/solar_cells_2.json'
variant = 'rate of the logits, relative to that of the weights'
variants = dict(
    {
        f'{rate}': {'optim_wrapper.paramwise_cfg.ratio_lr_mult': rate}
        for rate in (0.1, 10, 100, 1000)
    },
    _delete_=True,
)
del ssn, norms, even, starts
