# The paper's LN spans C, H and W: one group. mmcv's LN is nn.LayerNorm, for channels-last tokens.
norm_cfg = dict(type='GN', num_groups=1)
norm_cfg_3d = norm_cfg
