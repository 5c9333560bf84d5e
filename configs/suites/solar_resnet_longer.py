# Whether solar_resnet.py has converged: twice as long, on the first three splits.
_base_ = './solar_resnet.py'
title = 'ResNet-18 from noise on photographs of solar cells, twice as long'
stretch = 2
seeds = [0, 1, 2]
