norm_cfg = dict(type='IN', affine=True)  # NCHW; without affine it would learn no γ and β
norm_cfg_3d = dict(type='IN3d', affine=True)  # NCTHW
