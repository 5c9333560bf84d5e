# Whether gn_digits.py has converged: the same, stretched to twice the length.
_base_ = './gn_digits.py'
title = 'Four normalizers in small, twice as long'
stretch = 2
seeds = [0, 1, 2]
