# Table 5 in small: batches of 16 clips, a recipe for each norm from its search.
_base_ = './_i3d_digits_.py'
title = 'Table 5 in small: normalizers, I3D on 1600 moving digits'
recipes = 'recipes/i3d_digits.json'
longer = 'table5_longer_digits'
paper = {'BN': 73.3, 'GN': 73.0, 'SN': 73.5, 'SSN': 73.8}  # 8 videos a GPU, SSN1
