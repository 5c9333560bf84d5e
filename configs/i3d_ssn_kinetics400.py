_base_ = ['./action_recognition/i3d_r50_ssn2_8xb8-32x2-400k_kinetics400.py']
work_dir = 'work_dirs/i3d_ssn_kinetics400'
