# Table 1, and figures 3, 5 and 6, in small.
_base_ = './_resnet_digits_.py'
title = 'Table 1 in small: normalizers, ResNet-18 on digits'
configs = {
    norm.upper(): f'../demo/resnet_{norm}_digits.py'
    for norm in ('bn', 'in', 'ln', 'gn', 'sn', 'ssn')
}
twin = 'table1_imagenet.py'
