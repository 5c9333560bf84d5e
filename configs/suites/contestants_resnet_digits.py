# Every contestant on pictures: classification as long as table 1 in small, one seed.
_base_ = './table1_digits.py'
title = 'Contestants: ResNet-18 on digits'
seeds = [0]
norms = 'all'
# networks are narrow, trainings short: batch renormalization is batch norm for the first 60 steps
norm_options = dict(num_groups=8, momentum=0.1, steps=(60, 250, 400))
