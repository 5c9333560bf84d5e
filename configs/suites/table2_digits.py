# Tables 1 and 2, and figures 3 to 6, in small: as many pictures at each batch size, a recipe for
# each norm and size from the searches.
_base_ = './_resnet_norms_digits_.py'
title = 'Tables 1 and 2 in small: normalizers by batch size, ResNet-18 on 2000 pictures of digits'
variants = {
    f'{n}': {
        'train_dataloader.batch_size': n,
        'default_hooks.logger.interval': 640 // n,
        'log_processor.window_size': 640 // n,
        'log_processor.custom_cfg': [
            dict(data_src='accuracy_top-1', method_name='mean', window_size=640 // n)
        ],
    }
    for n in (32, 8, 2)
}
variants['2']['env_cfg.mkldnn'] = False  # two small pictures a step are trained faster without
variant = 'images a batch'
recipes = {f'{n}': f'recipes/resnet_{n}_digits.json' for n in (32, 8, 2)}
longer = 'table2_longer_digits'
twin = 'table2_imagenet.py'
