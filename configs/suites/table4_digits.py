# Table 4 in small: batches of 16 scenes, as long as the demo's training.
title = 'Table 4 in small: normalizers, DeepLab on scenes of digits'
configs = {
    norm.upper(): f'../demo/deeplab_{norm}_digits.py'
    for norm in ('bn', 'in', 'ln', 'gn', 'sn', 'ssn')
}
seeds = [0, 1, 2]
metrics = ['mIoU']
twin = 'table4_ade20k.py'
