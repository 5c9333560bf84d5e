# Table 5 in small: batches of 16 clips, a quarter of the demo's training.
title = 'Table 5 in small: normalizers, I3D on moving digits'
configs = {
    norm.upper(): f'../demo/i3d_{norm}_digits.py' for norm in ('bn', 'in', 'ln', 'gn', 'sn', 'ssn')
}
seeds = [0, 1, 2]
metrics = ['acc/top1']
options = {
    'train_cfg': dict(max_iters=400, val_interval=80),
    'param_scheduler.1': dict(end=400),
}
paper = {'BN': 73.3, 'GN': 73.0, 'SN': 73.5, 'SSN': 73.8}  # 8 videos a GPU, SSN1
