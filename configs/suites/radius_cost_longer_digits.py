# Whether radius_cost_digits.py has converged: the same, stretched to twice the length.
_base_ = './radius_cost_digits.py'
title = 'What the early mixture costs, twice as long'
stretch = 2
seeds = [0, 1, 2]
