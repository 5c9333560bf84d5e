# Whether radius_digits.py has converged: the same, stretched to twice the length.
_base_ = './radius_digits.py'
title = 'Radius schedules in small, twice as long'
stretch = 2
seeds = [0, 1, 2]
