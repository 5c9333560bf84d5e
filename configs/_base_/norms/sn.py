norm_cfg = dict(type='SN')
norm_cfg_3d = norm_cfg
custom_hooks = [dict(type='RatiosHook')]
