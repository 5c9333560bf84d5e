# Table 2, and figure 4, in small: the learning rate falls with the batch, as in the paper.
_base_ = './table1_digits.py'
title = 'Table 2 in small: normalizers by batch size, ResNet-18 on digits'
variants = {
    f'{n}': {
        'train_dataloader.batch_size': n,
        'optim_wrapper.optimizer.lr': 0.004 * n / 32,
        'param_scheduler.0': dict(end=75 * 32 // n),
        'param_scheduler.1': dict(begin=75 * 32 // n, end=625 * 32 // n, T_max=550 * 32 // n),
        'default_hooks.logger.interval': 20 * 32 // n,
    }
    for n in (32, 16, 8, 4, 2)
}
variant = 'images a batch'
twin = 'table2_imagenet.py'
