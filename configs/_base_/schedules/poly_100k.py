# SGD with the poly policy of power 0.9; the learning rate stands in the leaf.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='SSNOptimWrapperConstructor',
    optimizer=dict(type='SGD', momentum=0.9, weight_decay=1e-4),
)
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=100000, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=100000, val_interval=10000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
