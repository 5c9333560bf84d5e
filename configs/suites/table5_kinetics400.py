# Table 5: I3D on Kinetics-400, 8 GPUs x 8 or 4 videos, 10 clips a video in the test.
title = 'Table 5: normalizers, I3D on Kinetics-400'
configs = {
    norm.upper(): f'../action_recognition/i3d_r50_{norm}_8x{{variant}}_kinetics400.py'
    for norm in ('bn', 'gn', 'sn', 'ssn1', 'ssn2')
}
variants = {'b8-32x2-400k': {}, 'b4-32x2-600k': {}}
variant = 'videos a GPU, clip, iterations'
seeds = [0]
metrics = ['acc/top1', 'acc/top5']
test = []
