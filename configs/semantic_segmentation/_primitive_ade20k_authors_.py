# The recipe of the code of SN's authors, github.com/switchablenorms/SwitchNorm_Segmentation, where
# it says more than the paper, or something else. Each line names its file.
_base_ = ['./_primitive_ade20k_.py']
model = dict(
    # train.py and scripts/evaluate.sh, --padding_constant 8: in training and in tests
    data_preprocessor=dict(size=None, size_divisor=8, test_cfg=dict(size_divisor=8)),
    # models/models.py, _nostride_dilate: a stage's first block has half of its dilation
    backbone=dict(contract_dilation=True),
    # models/models.py, C1BilinearDeepSup: cbr_deepsup
    auxiliary_head=dict(channels=512),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomChoiceResize',
        scales=[300, 375, 450, 525, 575],  # scripts/train.sh, --imgSize
        resize_type='ResizeShortestEdge',
        max_size=1000,  # train.py, --imgMaxSize
    ),
    dict(type='RandomFlip', prob=0.5),  # train.py, --random_flip
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
# train.py, group_weight: no decay of γ, β, biases and the logits of SN
optim_wrapper = dict(paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0))
