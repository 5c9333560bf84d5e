# A recipe for each norm at 8 images a batch, by the same five trials: rates that rise over the
# first two epochs or, 'at once', are whole from the start.
_base_ = './_search_resnet_digits_.py'
title = 'A search of recipes at 8 images a batch, ResNet-18 on digits'
options = {'train_dataloader.batch_size': 8, 'default_hooks.logger.interval': 80}
variants = {
    f'{rate}{how}': {'optim_wrapper.optimizer.lr': rate, 'param_scheduler.0.start_factor': start}
    for rate, how, start in (
        *((rate, '', 0.02) for rate in (0.001, 0.003, 0.009, 0.027)),
        (0.003, ' at once', 1),
    )
}
