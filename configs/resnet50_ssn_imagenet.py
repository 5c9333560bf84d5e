_base_ = ['./image_classification/resnet50_ssn_8xb32-100e_imagenet.py']
work_dir = 'work_dirs/resnet50_ssn_imagenet'
