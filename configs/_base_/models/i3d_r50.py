# I3D of Sec. 4.3, the baseline of Non-local networks: a ResNet-50 with a 5x7x7 stem and, in every
# other block, a 3x1x1 convolution for the first 1x1; 32 frames are 4 after stage 1. Norm-free: a
# leaf sets norm_cfg of the backbone.
model = dict(
    type='Recognizer3D',
    data_preprocessor=dict(
        type='ActionDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape='NCTHW',
    ),
    backbone=dict(
        type='ResNet3d',
        depth=50,
        pretrained=None,  # a file: 2D ImageNet weights, which are inflated
        pretrained2d=True,
        conv1_kernel=(5, 7, 7),
        conv1_stride_t=2,
        pool1_stride_t=2,
        inflate=((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0)),
        conv_cfg=dict(type='Conv3d'),
        norm_eval=False,
        zero_init_residual=False,  # γ comes with the 2D weights; True asks for layers named bn
    ),
    cls_head=dict(
        type='I3DHead',
        num_classes=400,
        in_channels=2048,
        spatial_type='avg',
        dropout_ratio=0.5,
        init_std=0.01,
        average_clips='prob',  # the clips' softmax scores
    ),
)
