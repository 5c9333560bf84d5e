# A recipe for each norm in segmentation, by the same six trials: rates that rise over the first
# tenth or, 'at once', are whole from the start; on glyphs that no reported number is of.
_base_ = './_deeplab_digits_.py'
title = 'A search of recipes, DeepLab on scenes of digits'
options = {
    **{
        f'{loader}_dataloader.dataset.{key}': value
        for loader in ('train', 'val', 'test')
        for key, value in dict(data_root='data/digits/ade_tuning', tuning=True).items()
    },
    'train_cfg.val_interval': 1200,
}
variants = {
    f'{rate}{how}': {'optim_wrapper.optimizer.lr': rate, 'param_scheduler.0.start_factor': start}
    for rate, how, start in (
        *((rate, '', 0.02) for rate in (0.001, 0.003, 0.009, 0.027, 0.081)),
        (0.003, ' at once', 1),
    )
}
variant = 'rate'
seeds = [100]
