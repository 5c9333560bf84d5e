# A recipe for each norm at 2 images a batch, by the same five trials: rates that rise over the
# first two epochs or, 'at once', are whole from the start.
_base_ = './_search_resnet_digits_.py'
title = 'A search of recipes at 2 images a batch, ResNet-18 on digits'
options = {
    'train_dataloader.batch_size': 2,
    'default_hooks.logger.interval': 320,
    'env_cfg.mkldnn': False,  # two small pictures a step are trained faster without
}
variants = {
    f'{rate}{how}': {'optim_wrapper.optimizer.lr': rate, 'param_scheduler.0.start_factor': start}
    for rate, how, start in (
        *((rate, '', 0.02) for rate in (0.0005, 0.0015, 0.0045, 0.0135)),
        (0.0015, ' at once', 1),
    )
}
