# Poly over 400 epochs of Cityscapes: 2975 images, 16 an iteration, make an epoch of 186.
_base_ = ['./poly_100k.py']
max_iters = 400 * 186
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=max_iters, by_epoch=False)
]
train_cfg = dict(max_iters=max_iters, val_interval=40 * 186)
