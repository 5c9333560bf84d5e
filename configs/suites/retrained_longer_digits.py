# Whether retrained_digits.py has converged: the same, stretched to twice the length.
_base_ = './retrained_digits.py'
title = 'Trained again with a fixed selection, twice as long'
stretch = 2
seeds = [0, 1, 2]
