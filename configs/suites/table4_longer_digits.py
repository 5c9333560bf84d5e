# Whether table 4 in small has converged: the same trainings twice as long, the schedule stretched.
_base_ = './table4_digits.py'
title = 'Table 4 in small, twice as long'
stretch = 8  # of the search
seeds = [0, 1, 2]
