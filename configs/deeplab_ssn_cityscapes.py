_base_ = ['./semantic_segmentation/deeplab_r50_ssn_8xb2-400e_cityscapes-713x713.py']
work_dir = 'work_dirs/deeplab_ssn_cityscapes'
