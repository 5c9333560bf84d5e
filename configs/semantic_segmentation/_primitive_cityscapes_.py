# All that table 4's Cityscapes rows share: 8 GPUs x 2 images. Leaves add the norm and learning
# rate. Tests see whole images: IN and LN measure what they see, windows would each be normalized
# differently, and at scale 1.75 the largest map takes no more than 0.8 GB.
_base_ = [
    './_primitive_.py',
    '../_base_/datasets/cityscapes_713.py',
    '../_base_/schedules/poly_cityscapes_400e.py',
]
model = dict(
    data_preprocessor=dict(size=(713, 713)),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
)
