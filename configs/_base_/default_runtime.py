custom_imports = dict(imports=['ssn_mm'], allow_failed_imports=False)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=2000,
        max_keep_ckpts=3,
        backend_args=dict(backend='atomic'),  # a file is complete or not there
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # without it each rank would validate with the BN statistics of its own batches
    sync_buffers=dict(type='SyncStatisticsHook'),
    # resuming is exact; broken='skip' logs broken samples and goes on
    reliability=dict(type='ReliabilityHook', broken='stop'),
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
