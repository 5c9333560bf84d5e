# Whether stages_digits.py has converged: the same, stretched to twice the length.
_base_ = './stages_digits.py'
title = 'One stage or two in small, twice as long'
stretch = 2
seeds = [0, 1, 2]
