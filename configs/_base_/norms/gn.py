norm_cfg = dict(type='GN', num_groups=32)
norm_cfg_3d = norm_cfg
