# DeepLab of Sec. 4.2: ResNet-50 at output stride 8, one 3x3 convolution, one classifier.
# Norm-free: a leaf sets norm_cfg of the backbone and both heads. The loss is the mean over labelled
# pixels, as in the code that the paper's experiments build on.
loss = dict(type='CrossEntropyLoss', avg_non_ignore=True)
head = dict(
    type='FCNHead',
    num_convs=1,
    concat_input=False,
    dropout_ratio=0.0,
    align_corners=False,
    num_classes=150,
)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
    ),
    backbone=dict(
        type='ResNet',  # with the 7x7 stem; ResNetV1c would have three 3x3 convolutions
        depth=50,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        norm_eval=False,
    ),
    decode_head=dict(
        **head,
        in_channels=2048,
        in_index=3,
        channels=512,
        loss_decode=dict(**loss, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        **head,
        in_channels=1024,
        in_index=2,
        channels=256,
        loss_decode=dict(**loss, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
