# Every contestant on scenes: segmentation as long as the demo, with its recipe, one seed. It shows
# that each can be trained in its place.
title = 'Contestants: DeepLab on scenes of digits'
configs = {
    norm.upper(): f'../demo/deeplab_{norm}_digits.py'
    for norm in ('bn', 'in', 'ln', 'gn', 'sn', 'ssn')
}
seeds = [0]
metrics = ['mIoU']
norms = 'all'
# networks are narrow, trainings short: batch renormalization is batch norm for the first 60 steps
norm_options = dict(num_groups=8, momentum=0.1, steps=(60, 250, 400))
twin = 'table4_ade20k.py'
