# Table 4 in small: batches of 16 scenes.
title = 'Table 4 in small: normalizers, DeepLab on scenes of digits'
configs = {
    norm.upper(): f'../demo/deeplab_{norm}_digits.py'
    for norm in ('bn', 'in', 'ln', 'gn', 'sn', 'ssn')
}
seeds = [0, 1, 2]
metrics = ['mIoU']
options = {'train_cfg.val_interval': 100}
twin = 'table4_ade20k.py'
