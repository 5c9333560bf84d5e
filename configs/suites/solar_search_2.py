# A recipe for each norm at 2 images a batch (4, too): the same rates for all, on cells that no
# reported number is of.
_base_ = './_solar_norms_.py'
title = 'A search of recipes at 2 images a batch, EfficientNet-Lite0 on solar cells'
options = {
    'train_dataloader.batch_size': 2,
    'default_hooks.logger.interval': 80,
    'val_dataloader.dataset.subset': 'tune',
    'test_dataloader.dataset.subset': 'tune',
}
variant = 'rate'
variants = {
    f'{rate}': {'optim_wrapper.optimizer.lr': rate} for rate in (1.25e-5, 5e-5, 2e-4, 8e-4, 3.2e-3)
}
seeds = [0]
