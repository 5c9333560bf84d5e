# Every contestant on videos: a quarter of the demo, with its recipe, one seed. It shows that each
# can be trained in its place.
title = 'Contestants: I3D on moving digits'
configs = {
    norm.upper(): f'../demo/i3d_{norm}_digits.py' for norm in ('bn', 'in', 'ln', 'gn', 'sn', 'ssn')
}
seeds = [0]
metrics = ['acc/top1']
options = {
    'train_cfg': dict(max_iters=400, val_interval=80),
    'param_scheduler.1': dict(end=400),
}
norms = 'all'
# networks are narrow, trainings short: batch renormalization is batch norm for the first 60 steps
norm_options = dict(num_groups=8, momentum=0.1, steps=(60, 250, 400))
