# Table 2, and figure 4: ResNet-50 on ImageNet, 8 GPUs x 32 to 2 images.
title = 'Table 2: normalizers by batch size, ResNet-50 on ImageNet'
configs = {
    norm.upper(): f'../image_classification/resnet50_{norm}_8xb{{variant}}-100e_imagenet.py'
    for norm in ('bn', 'gn', 'sn', 'ssn')
}
variants = {'32': {}, '16': {}, '8': {}, '4': {}, '2': {}}
variant = 'images a GPU'
seeds = [0]
metrics = ['accuracy/top1', 'accuracy/top5']
