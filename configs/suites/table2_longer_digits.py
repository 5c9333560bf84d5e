# Whether table 2 in small has converged: the same trainings twice as long, the schedule stretched.
_base_ = './table2_digits.py'
title = 'Tables 1 and 2 in small, twice as long'
stretch = 2
norm_options = dict(steps=(500, 2000, 3200))  # of batch renormalization, stretched, too
seeds = [0, 1, 2]
