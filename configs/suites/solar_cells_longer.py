# Whether the trainings of solar_cells.py have converged: twice as long, on the first three splits.
_base_ = './solar_cells.py'
title = 'EfficientNet-Lite0 from ImageNet on photographs of solar cells, twice as long'
stretch = 4  # of the demo's two epochs
seeds = [0, 1, 2]
