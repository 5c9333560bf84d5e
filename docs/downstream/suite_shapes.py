title = 'SSN and BN on shapes'
configs = dict(SSN='deeplab_shapes.py', BN='deeplab_bn_shapes.py')
seeds = [0, 1, 2]
metrics = ['mIoU']  # as the validation logs it; the first is compared
