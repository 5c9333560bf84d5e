# The same photographs, batches and splits, with a ResNet-18 from noise.
_base_ = './_solar_cells_.py'
title = 'ResNet-18 from noise on photographs of solar cells'
configs = {norm.upper(): f'../demo/resnet_{norm}_solar.py' for norm in ('bn', 'gn', 'ssn')}
variant = 'images a batch'
variants = {
    f'{n}': {'train_dataloader.batch_size': n, 'default_hooks.logger.interval': 160 // n}
    for n in (2, 4, 16)
}
recipes = {
    f'{n}': f'recipes/solar_resnet_{searched}.json' for n, searched in ((2, 2), (4, 2), (16, 16))
}
longer = 'solar_resnet_longer'
