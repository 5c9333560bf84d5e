# Sec. 4.1: the radius reaches r_i at epoch 40, 50, 60 or 70 of 100.
title = 'Radius schedules, ResNet-50 SSN on ImageNet'
configs = {
    f'r_i at {epoch} %': (
        f'../image_classification/resnet50_ssn-radius{epoch}_8xb32-100e_imagenet.py'
    )
    for epoch in (40, 50, 60, 70)
}
seeds = [0]
metrics = ['accuracy/top1', 'accuracy/top5']
