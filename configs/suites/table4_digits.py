# Table 4 in small: batches of 16 scenes, a recipe for each norm from its search, four times as long
# as that.
_base_ = './_deeplab_digits_.py'
title = 'Table 4 in small: normalizers, DeepLab on 1600 scenes of digits'
recipes = 'recipes/deeplab_digits.json'
longer = 'table4_longer_digits'
twin = 'table4_ade20k.py'
stretch = 4
