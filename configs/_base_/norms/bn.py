norm_cfg = dict(type='BN')  # NCHW
norm_cfg_3d = dict(type='BN3d')  # NCTHW
