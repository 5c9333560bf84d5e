# As many videos as 400k iterations of 64 see, in batches of 32.
_base_ = ['./step_400k.py']
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[300000, 600000], gamma=0.1)]
train_cfg = dict(max_iters=800000, val_interval=20000)
auto_scale_lr = dict(base_batch_size=32)
