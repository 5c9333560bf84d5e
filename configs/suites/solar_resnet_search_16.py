# A recipe for each norm at 16 images a batch, by the same trials.
_base_ = './solar_resnet_search_2.py'
title = 'A search of recipes at 16 images a batch, ResNet-18 from noise on solar cells'
options = {'train_dataloader.batch_size': 16, 'default_hooks.logger.interval': 10}
