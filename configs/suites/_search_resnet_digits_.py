# What the searches of recipes share: pictures of glyphs that no reported number is of, and a seed
# of its own.
_base_ = './_resnet_norms_digits_.py'
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
