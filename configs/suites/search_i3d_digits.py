# A recipe for each norm on videos, by the same four trials: rates that rise over the first
# tenth or, 'at once', are whole from the start; on glyphs that no reported number is of.
_base_ = './_i3d_digits_.py'
title = 'A search of recipes, I3D on moving digits'
options = {
    **{
        f'{loader}_dataloader.dataset.{key}': value
        for loader in ('train', 'val', 'test')
        for key, value in dict(data_root='data/digits/kinetics_tuning', tuning=True).items()
    },
    'train_cfg.val_interval': 1600,
}
variants = {
    f'{rate}{how}': {'optim_wrapper.optimizer.lr': rate, 'param_scheduler.0.start_factor': start}
    for rate, how, start in (
        *((rate, '', 0.02) for rate in (0.0007, 0.002, 0.006)),
        (0.002, ' at once', 1),
    )
}
variant = 'rate'
seeds = [100]
