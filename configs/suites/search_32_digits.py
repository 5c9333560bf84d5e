# A recipe for each norm at 32 images a batch, by the same five trials: rates that rise over the
# first two epochs or, 'at once', are whole from the start.
_base_ = './_search_resnet_digits_.py'
title = 'A search of recipes at 32 images a batch, ResNet-18 on digits'
configs = {
    f'{norm.upper()} with GN': dict(
        config=f'../demo/resnet_{norm}_digits.py',
        options={
            'model.backbone.norm_cfg.normalizers': ('IN', 'LN', 'BN', 'GN'),
            'model.backbone.norm_cfg.num_groups': 8,
        },
    )
    for norm in ('sn', 'ssn')
}
options = {'train_dataloader.batch_size': 32, 'default_hooks.logger.interval': 20}
variants = {
    f'{rate}{how}': {'optim_wrapper.optimizer.lr': rate, 'param_scheduler.0.start_factor': start}
    for rate, how, start in (
        *((rate, '', 0.02) for rate in (0.002, 0.006, 0.018, 0.054)),
        (0.006, ' at once', 1),
    )
}
