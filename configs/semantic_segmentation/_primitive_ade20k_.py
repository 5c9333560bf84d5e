# All that table 4's ADE20K rows share: 8 GPUs x 2 images. Leaves add the norm and learning rate.
_base_ = [
    './_primitive_.py',
    '../_base_/datasets/ade20k_450.py',
    '../_base_/schedules/poly_100k.py',
]
model = dict(data_preprocessor=dict(size=(450, 450)))
