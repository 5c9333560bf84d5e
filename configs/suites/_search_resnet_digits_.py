# What the searches of recipes share: pictures of glyphs that no reported number is of, and a seed
# of its own.
_base_ = './_resnet_digits_.py'
configs = {
    norm.upper(): f'../demo/resnet_{norm}_digits.py'
    for norm in ('bn', 'in', 'ln', 'gn', 'sn', 'ssn')
}
norms = ['BatchRenorm', 'ChannelLN', 'DyT', 'EvoNorm-S0', 'FRN+TLU', 'GN+WS', 'RMSNorm']
# networks are narrow; batch renormalization is batch norm for the first 125 steps
norm_options = dict(num_groups=8, momentum=0.1, steps=(125, 500, 800))
options = {
    **{
        f'{loader}_dataloader.dataset.{key}': value
        for loader in ('train', 'val', 'test')
        for key, value in dict(data_root='data/digits/imagenet_2000_tuning', tuning=True).items()
    },
    'train_cfg.val_interval': 40,
}
variant = 'rate'
seeds = [100]
