# The recipe of github.com/hszhao/semseg (config/cityscapes/cityscapes_pspnet50.yaml), whose crop
# and rate the paper has, where it says more. Each line names its file.
_base_ = ['./_primitive_cityscapes_.py']
crop_size = (713, 713)
head = dict(
    dropout_ratio=0.1,  # model/pspnet.py: nn.Dropout2d(p=dropout) of cls and aux
    align_corners=True,  # model/pspnet.py: F.interpolate
)
model = dict(
    decode_head=head,
    auxiliary_head=head,
    # tool/test.py, scale_process: windows of the crop's size, stride_rate=2/3
    test_cfg=dict(mode='slide', crop_size=crop_size, stride=(476, 476)),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    # config, scale_min and scale_max
    dict(type='RandomResize', scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    # util/transform.py, RandRotate: p=0.5, filled with the mean
    dict(type='RandomRotate', prob=0.5, degree=10.0, pad_val=(103.53, 116.28, 123.675)),
    # util/transform.py, RandomGaussianBlur: cv2's kernel of 5, whose sigma is 1.1
    dict(type='mmpretrain.GaussianBlur', radius=1.1, prob=0.5),
    dict(type='RandomFlip', prob=0.5),  # util/transform.py, RandomHorizontalFlip
    dict(type='RandomCrop', crop_size=crop_size),  # util/transform.py, Crop: of any classes
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale_factor=factor, keep_ratio=True)
                for factor in (1.0, 1.25, 1.5, 1.75)  # the paper's
            ],
            # tool/test.py, net_process: as it is and flipped
            [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
# tool/train.py: modules_new have ten times the rate
new = dict(lr_mult=10)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(decode_head=new, auxiliary_head=new)))
