# A recipe for each norm at 16 images a batch, by the same trials.
_base_ = './solar_search_2.py'
title = 'A search of recipes at 16 images a batch, EfficientNet-Lite0 on solar cells'
options = {'train_dataloader.batch_size': 16, 'default_hooks.logger.interval': 10}
