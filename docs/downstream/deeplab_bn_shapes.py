_base_ = ['deeplab_shapes.py']

# the same training with batch norm in the place of SSN; _delete_ drops SSN's arguments
norm = dict(norm_cfg=dict(type='BN', _delete_=True))
model = dict(backbone=norm, decode_head=norm, auxiliary_head=norm)
custom_hooks = []
work_dir = 'work_dirs/deeplab_bn_shapes'
