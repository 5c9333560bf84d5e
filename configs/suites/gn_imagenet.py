# Sec. 4.1: GN as a fourth normalizer.
title = 'Four normalizers, ResNet-50 on ImageNet'
configs = dict(
    SN='../image_classification/resnet50_sn-gn_8xb32-100e_imagenet.py',
    SSN='../image_classification/resnet50_ssn-gn_8xb32-100e_imagenet.py',
)
seeds = [0]
metrics = ['accuracy/top1', 'accuracy/top5']
