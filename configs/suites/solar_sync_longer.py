# Whether solar_sync.py has converged: twice as long, on the first three splits.
_base_ = './solar_sync.py'
title = 'Two processes, EfficientNet-Lite0 from ImageNet on solar cells, twice as long'
stretch = 4  # of the demo's two epochs
seeds = [0, 1, 2]
