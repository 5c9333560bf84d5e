_base_ = ['./semantic_segmentation/deeplab_r50_ssn_8xb2-100k_ade20k-450x450.py']
work_dir = 'work_dirs/deeplab_ssn_ade20k'
