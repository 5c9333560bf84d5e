# Table 4, Cityscapes: DeepLab on ResNet-50, 8 GPUs x 2 images, multi-scale test.
title = 'Table 4: normalizers, DeepLab on Cityscapes'
configs = dict(
    SyncBN='../semantic_segmentation/deeplab_r50_syncbn_8xb2-400e_cityscapes-713x713.py',
    GN='../semantic_segmentation/deeplab_r50_gn_8xb2-400e_cityscapes-713x713.py',
    SN='../semantic_segmentation/deeplab_r50_sn_8xb2-400e_cityscapes-713x713.py',
    SSN='../semantic_segmentation/deeplab_r50_ssn_8xb2-400e_cityscapes-713x713.py',
)
seeds = [0]
metrics = ['mIoU']
test = ['--tta']
