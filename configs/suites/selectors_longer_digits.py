# Whether selectors_digits.py has converged: the same, stretched to twice the length.
_base_ = './selectors_digits.py'
title = 'Selectors, twice as long'
stretch = 2
seeds = [0, 1, 2]
