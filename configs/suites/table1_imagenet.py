# Table 1, and figures 3, 5 and 6: ResNet-50 on ImageNet, 8 GPUs x 32 images.
title = 'Table 1: normalizers, ResNet-50 on ImageNet'
configs = {
    norm.upper(): f'../image_classification/resnet50_{norm}_8xb32-100e_imagenet.py'
    for norm in ('bn', 'in', 'ln', 'gn', 'sn', 'ssn')
}
seeds = [0]
metrics = ['accuracy/top1', 'accuracy/top5']
