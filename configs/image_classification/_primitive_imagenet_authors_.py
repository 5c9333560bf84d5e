# The recipe of the code of the paper's authors, github.com/switchablenorms/Sparse_SwitchNorm, where
# it says more than the paper. Each line names its file.
_base_ = ['./_primitive_imagenet_.py']
# models/resnet_v1_ssn.py and _sn.py: dropout of 0.5 before fc, which starts as nn.Linear does
model = dict(head=dict(type='AuthorsClsHead', dropout_ratio=0.5, init_cfg=None))
# train_imagenet.py: transforms.ColorJitter(0.4, 0.4, 0.4)
jitter = dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, backend='cv2')
lighting = dict(
    type='Lighting',
    # ColorAugmentation of Switchable-Normalization's devkit/dataset/imagenet_dataset.py: eig_val,
    # here of pixels from 0 to 255; eig_vec, whose rows are the columns here, from B down to R
    eigval=[0.2175 * 255, 0.0188 * 255, 0.0045 * 255],
    eigvec=[
        [-0.5675, -0.5808, -0.5836],
        [0.7192, -0.0045, -0.6948],
        [0.4009, -0.8140, 0.4203],
    ],
    alphastd=0.1,  # devkit/dataset/imagenet_dataset.py, too
)
load = dict(type='LoadImageFromFile', to_float32=True)  # lighting would wrap around in uint8
flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
pack = dict(type='PackInputs')
# train_imagenet.py, train_dataset: RandomResizedCrop(224), RandomHorizontalFlip()
crop = dict(type='RandomResizedCrop', scale=224)
train_pipeline = [load, crop, flip, jitter, lighting, pack]
# train_imagenet.py, `if epoch == args.epochs-5`: Resize(256), RandomCrop(224)
last_pipeline = [
    load,
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='RandomCrop', crop_size=224),
    flip,
    jitter,
    lighting,
    pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
last_epochs = [dict(action_epoch=96, train_pipeline=last_pipeline)]  # counted from 1
default_hooks = dict(last_epochs=dict(type='SwitchRecipeHook', schedule=last_epochs))
