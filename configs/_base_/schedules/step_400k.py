# That of Non-local networks: SGD with Nesterov's momentum, no decay of γ and β, the learning rate a
# tenth at 150k and 300k of 400k iterations of 64 videos (107 epochs of Kinetics-400); the learning
# rate stands in the leaf.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='SSNOptimWrapperConstructor',
    optimizer=dict(type='SGD', momentum=0.9, nesterov=True, weight_decay=1e-4),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[150000, 300000], gamma=0.1)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=400000, val_interval=10000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=64)
