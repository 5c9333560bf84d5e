_base_ = ['ssn_mm::deeplab_ssn_ade20k.py']
custom_imports = dict(imports=['ssn_mm', 'shapes'], allow_failed_imports=False)

# own normalizers; the parent's norm_cfg has type SSN already, so these are merged into it
norm = dict(norm_cfg=dict(normalizers=('IN', 'BN', 'GN'), num_groups=32))
head = dict(num_classes=3, **norm)
model = dict(
    data_preprocessor=dict(size=(96, 96)), backbone=norm, decode_head=head, auxiliary_head=head
)

# own radius schedule; a list replaces the parent's
custom_hooks = [dict(type='SSNRadiusHook', schedule='late')]

# own dataset; _delete_ drops ADE20K's arguments
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
shapes = dict(_delete_=True, type='ShapesDataset', data_root='data/shapes', pipeline=pipeline)
train = dict(img_path='images/training', seg_map_path='labels/training')
val = dict(img_path='images/validation', seg_map_path='labels/validation')
train_dataloader = dict(batch_size=4, dataset=dict(**shapes, data_prefix=train))
val_dataloader = dict(dataset=dict(**shapes, data_prefix=val))
test_dataloader = val_dataloader

train_cfg = dict(max_iters=2000, val_interval=500)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=2000, by_epoch=False)]
work_dir = 'work_dirs/deeplab_shapes'
