# Non-local networks' schedule for half the batch: 600k iterations of 32 videos, the learning rate a
# tenth at 300k and 500k.
_base_ = ['./step_400k.py']
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[300000, 500000], gamma=0.1)]
train_cfg = dict(max_iters=600000, val_interval=20000)
auto_scale_lr = dict(base_batch_size=32)
