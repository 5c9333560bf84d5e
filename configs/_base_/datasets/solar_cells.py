# Photographs of solar cells, of the installed package elpv-dataset; a split is five sixths of it.
cells = dict(type='SolarCells', split=0)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=128, interpolation='area'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='RandomFlip', prob=0.5, direction='vertical'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=128, interpolation='area'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    num_workers=0,  # a picture takes 2 ms
    drop_last=True,  # 1,749 cells would leave a batch of one, whose statistics are of one picture
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**cells, subset='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**cells, subset='test', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='TwoClassMetric')
test_evaluator = val_evaluator
