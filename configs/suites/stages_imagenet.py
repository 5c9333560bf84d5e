# Sec. 4.1: SSN in one stage, or the argmax of a trained SN and 20 epochs more.
title = 'One stage or two, ResNet-50 on ImageNet'
configs = {
    'SN': '../image_classification/resnet50_sn_8xb32-100e_imagenet.py',
    'SSN': '../image_classification/resnet50_ssn_8xb32-100e_imagenet.py',
    'argmax of SN': '../image_classification/resnet50_ssn-argmax_8xb32-20e_imagenet.py',
}
after = {'argmax of SN': 'SN'}
seeds = [0]
metrics = ['accuracy/top1', 'accuracy/top5']
