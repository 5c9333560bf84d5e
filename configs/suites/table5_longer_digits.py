# Whether table 5 in small has converged: the same trainings twice as long, the schedule stretched.
_base_ = './table5_digits.py'
title = 'Table 5 in small, twice as long'
stretch = 2
seeds = [0, 1, 2]
