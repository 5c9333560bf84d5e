# A recipe for each norm at 2 images a batch (4, too), by the same trials.
_base_ = './_solar_cells_.py'
title = 'A search of recipes at 2 images a batch, ResNet-18 from noise on solar cells'
configs = {norm.upper(): f'../demo/resnet_{norm}_solar.py' for norm in ('bn', 'gn', 'ssn')}
options = {
    'train_dataloader.batch_size': 2,
    'default_hooks.logger.interval': 80,
    'val_dataloader.dataset.subset': 'tune',
    'test_dataloader.dataset.subset': 'tune',
}
variant = 'rate'
variants = {f'{rate}': {'optim_wrapper.optimizer.lr': rate} for rate in (2e-4, 8e-4, 3.2e-3)}
seeds = [0]
