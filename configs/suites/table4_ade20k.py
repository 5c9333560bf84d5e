# Table 4, ADE20K: DeepLab on ResNet-50, 8 GPUs x 2 images, multi-scale test.
title = 'Table 4: normalizers, DeepLab on ADE20K'
configs = dict(
    SyncBN='../semantic_segmentation/deeplab_r50_syncbn_8xb2-100k_ade20k-450x450.py',
    GN='../semantic_segmentation/deeplab_r50_gn_8xb2-100k_ade20k-450x450.py',
    SN='../semantic_segmentation/deeplab_r50_sn_8xb2-100k_ade20k-450x450.py',
    SSN='../semantic_segmentation/deeplab_r50_ssn_8xb2-100k_ade20k-450x450.py',
)
seeds = [0]
metrics = ['mIoU']
test = ['--tta']
