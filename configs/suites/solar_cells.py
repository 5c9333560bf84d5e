# Which norm to fine-tune with: each with its own recipe, at three batches, on five splits.
_base_ = './_solar_norms_.py'
title = 'EfficientNet-Lite0 from ImageNet on photographs of solar cells'
stretch = 2  # the demo's two epochs are too few: most norms gain a point of AUC in four
variant = 'images a batch'
variants = {
    f'{n}': {'train_dataloader.batch_size': n, 'default_hooks.logger.interval': 160 // n}
    for n in (2, 4, 16)
}
recipes = {
    f'{n}': f'recipes/solar_cells_{searched}.json' for n, searched in ((2, 2), (4, 2), (16, 16))
}
longer = 'solar_cells_longer'
