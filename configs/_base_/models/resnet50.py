# ResNet-50 of Sec. 4.1; the last γ of each residual block starts at 0. Norm-free: a leaf sets
# norm_cfg of the backbone.
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='ClsDataPreprocessor',
        num_classes=1000,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    backbone=dict(
        type='ResNet', depth=50, style='pytorch', norm_eval=False, zero_init_residual=True
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=2048,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5),
        cal_acc=True,  # figure 3 has the accuracy in training, too
    ),
)
