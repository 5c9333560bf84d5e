# The same three trials for every selector, of the rate of its logits, on pictures
# of glyphs that no reported number is of, with a seed of their own.
# 'argmax' differs from 'softmax' in its name alone: the hook takes the largest ratios of both.
_base_ = './_resnet_digits_.py'
title = 'A search of the rate of ratio logits for every selector, ResNet-18 SSN on digits'
selectors = ['sparsestmax', 'softmax', 'sparsemax', 'entmax15', 'gumbel', 'softmax+entropy']
configs = {
    name: dict(
        config='../demo/resnet_ssn_digits.py',
        recipe='SSN',
        options={
            'model.backbone.norm_cfg.selector': name,
            'custom_hooks.0.soft_metrics': True,
        },
    )
    for name in selectors
}
del selectors
variants = {f'{rate}': {'optim_wrapper.paramwise_cfg.ratio_lr_mult': rate} for rate in (0.1, 1, 10)}
variant = 'rate of the logits, relative to that of the weights'
options = {
    f'{loader}_dataloader.dataset.{key}': value
    for loader in ('train', 'val', 'test')
    for key, value in dict(data_root='data/digits/imagenet_2000_tuning', tuning=True).items()
}
metrics = ['accuracy/top1', 'soft/accuracy/top1']
seeds = [100]
recipes = 'recipes/resnet_32_digits.json'
