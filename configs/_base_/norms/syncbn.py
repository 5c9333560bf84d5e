norm_cfg = dict(type='SyncBN')
norm_cfg_3d = norm_cfg
