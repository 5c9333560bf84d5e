# SGD, the learning rate a tenth at epochs 30, 60 and 90; the learning rate stands in the leaf.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='SSNOptimWrapperConstructor',
    optimizer=dict(type='SGD', momentum=0.9, weight_decay=1e-4),
)
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[30, 60, 90], gamma=0.1)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=256)
