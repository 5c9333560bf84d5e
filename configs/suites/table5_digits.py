# Table 5 in small: batches of 16 clips.
title = 'Table 5 in small: normalizers, I3D on moving digits'
configs = {
    norm.upper(): f'../demo/i3d_{norm}_digits.py' for norm in ('bn', 'in', 'ln', 'gn', 'sn', 'ssn')
}
seeds = [0, 1, 2]
metrics = ['acc/top1']
options = {'train_cfg.val_interval': 200}
