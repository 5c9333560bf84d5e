# What the code of Non-local networks, github.com/facebookresearch/video-nonlocal-net, does and the
# paper does not. Each line names its file; what the paper leaves to it is in every leaf.
_base_ = ['./_primitive_.py']
# lib/models/resnet_video_org.py: pool1, kernels=[2, 3, 3], pads=[0, 0, 0]
model = dict(backbone=dict(type='NonLocalResNet3d'))
test_pipeline = [
    dict(type='DecordInit'),
    dict(type='SampleFrames', clip_len=32, frame_interval=2, num_clips=10, test_mode=True),
    dict(type='DecordDecode'),
    dict(type='Resize', scale=(-1, 256)),
    # configs/DBG_kinetics_resnet_8gpu_c2d_nonlocal_400k.yaml, NUM_TEST_CLIPS: 10 of 3 crops each;
    # README.md, Testing: of 256, where the file has 224
    dict(type='ThreeCrop', crop_size=256),
    dict(type='FormatShape', input_format='NCTHW'),
    dict(type='PackActionInputs'),
]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
