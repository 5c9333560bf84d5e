norm_cfg = dict(type='SSN')
norm_cfg_3d = norm_cfg
custom_hooks = [dict(type='SSNRadiusHook', schedule='linear')]
