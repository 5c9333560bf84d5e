# Mixed precision beside float32, not of the paper; on two CPU cores half precision is slow.
_base_ = './_resnet_digits_.py'
title = 'Precision, ResNet-18 SSN on digits'
configs = {
    precision: dict(
        config='../demo/resnet_ssn_digits.py',
        options={}
        if precision == 'float32'
        else {'optim_wrapper': dict(type='CPUAmpOptimWrapper', dtype=precision)},
    )
    for precision in ('float32', 'bfloat16', 'float16')
}
