# Whether the trainings of solar_cells.py have converged: twice as long, on the first three splits.
_base_ = './solar_cells.py'
title = 'EfficientNet-Lite0 from ImageNet on photographs of solar cells, twice as long'
stretch = 2
seeds = [0, 1, 2]
