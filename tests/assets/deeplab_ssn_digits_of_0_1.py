auto_scale_lr = dict(base_batch_size=16, enable=False)
custom_hooks = [
    dict(schedule='linear', type='SSNRadiusHook'),
]
custom_imports = dict(
    allow_failed_imports=False,
    imports=[
        'ssn_mm',
        'ssn_mm.datasets.segmentation',
    ],
)
default_hooks = dict(
    checkpoint=dict(
        backend_args=dict(backend='atomic'),
        by_epoch=False,
        interval=100,
        max_keep_ckpts=3,
        type='CheckpointHook',
    ),
    logger=dict(interval=20, log_metric_by_epoch=False, type='LoggerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    reliability=dict(broken='stop', type='ReliabilityHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    sync_buffers=dict(type='SyncStatisticsHook'),
    timer=dict(type='IterTimerHook'),
    visualization=dict(type='SegVisualizationHook'),
)
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
)
head = dict(
    align_corners=False,
    concat_input=False,
    dropout_ratio=0.0,
    num_classes=150,
    num_convs=1,
    type='FCNHead',
)
launcher = 'none'
load_from = None
log_level = 'INFO'
log_processor = dict(by_epoch=False)
loss = dict(
    class_weight=[
        0.3,
        1.0,
        1.0,
        1.0,
        1.0,
        1.0,
        1.0,
        1.0,
        1.0,
        1.0,
        1.0,
    ],
    reduction='sum',
)
model = dict(
    auxiliary_head=dict(
        align_corners=False,
        channels=8,
        concat_input=False,
        dropout_ratio=0.0,
        in_channels=32,
        in_index=2,
        loss_decode=dict(
            class_weight=[
                0.3,
                1.0,
                1.0,
                1.0,
                1.0,
                1.0,
                1.0,
                1.0,
                1.0,
                1.0,
                1.0,
            ],
            loss_weight=1.2e-05,
            reduction='sum',
            type='CrossEntropyLoss',
        ),
        norm_cfg=dict(type='SSN'),
        num_classes=11,
        num_convs=1,
        type='FCNHead',
    ),
    backbone=dict(
        base_channels=8,
        depth=18,
        dilations=(
            1,
            1,
            2,
            4,
        ),
        norm_cfg=dict(type='SSN'),
        norm_eval=False,
        stem_channels=8,
        strides=(
            1,
            2,
            1,
            1,
        ),
        type='ResNet',
    ),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        pad_val=0,
        seg_pad_val=255,
        size=(
            64,
            64,
        ),
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type='SegDataPreProcessor',
    ),
    decode_head=dict(
        align_corners=False,
        channels=8,
        concat_input=False,
        dropout_ratio=0.0,
        in_channels=64,
        in_index=3,
        loss_decode=dict(
            class_weight=[
                0.3,
                1.0,
                1.0,
                1.0,
                1.0,
                1.0,
                1.0,
                1.0,
                1.0,
                1.0,
                1.0,
            ],
            loss_weight=3e-05,
            reduction='sum',
            type='CrossEntropyLoss',
        ),
        norm_cfg=dict(type='SSN'),
        num_classes=11,
        num_convs=1,
        type='FCNHead',
    ),
    test_cfg=dict(mode='whole'),
    train_cfg=dict(),
    type='EncoderDecoder',
)
norm = dict(norm_cfg=dict(type='SSN'))
norm_cfg = dict(type='SSN')
norm_cfg_3d = dict(type='SSN')
optim_wrapper = dict(
    constructor='SSNOptimWrapperConstructor',
    optimizer=dict(lr=0.003, type='AdamW', weight_decay=0.0001),
    type='OptimWrapper',
)
param_scheduler = [
    dict(begin=0, by_epoch=False, end=60, start_factor=0.02, type='LinearLR'),
    dict(begin=60, by_epoch=False, end=600, eta_min=0.0, power=0.9, type='PolyLR'),
]
randomness = dict(seed=0)
resume = False
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        data_root='data',
        num_train=8,
        num_val=2,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        size=64,
        type='DigitsSegDataset',
    ),
    num_workers=0,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
test_evaluator = dict(
    iou_metrics=[
        'mIoU',
    ],
    type='IoUMetric',
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_cfg = dict(max_iters=2, type='IterBasedTrainLoop', val_interval=2)
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        data_root='data',
        num_train=8,
        num_val=2,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        size=64,
        type='DigitsSegDataset',
    ),
    num_workers=0,
    sampler=dict(shuffle=True, type='InfiniteSampler'),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        transforms=[
            [
                dict(
                    keep_ratio=True,
                    scale=(
                        48,
                        48,
                    ),
                    type='Resize',
                ),
                dict(
                    keep_ratio=True,
                    scale=(
                        64,
                        64,
                    ),
                    type='Resize',
                ),
                dict(
                    keep_ratio=True,
                    scale=(
                        80,
                        80,
                    ),
                    type='Resize',
                ),
            ],
            [
                dict(type='LoadAnnotations'),
            ],
            [
                dict(type='PackSegInputs'),
            ],
        ],
        type='TestTimeAug',
    ),
]
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=8,
    dataset=dict(
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        data_root='data',
        num_train=8,
        num_val=2,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        size=64,
        type='DigitsSegDataset',
    ),
    num_workers=0,
    sampler=dict(shuffle=False, type='DefaultSampler'),
)
val_evaluator = dict(
    iou_metrics=[
        'mIoU',
    ],
    type='IoUMetric',
)
vis_backends = [
    dict(type='LocalVisBackend'),
]
visualizer = dict(
    name='visualizer',
    type='SegLocalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ],
)
work_dir = 'run'
world = dict(data_root='data/digits/ade', num_train=1600, size=64, type='DigitsSegDataset')
