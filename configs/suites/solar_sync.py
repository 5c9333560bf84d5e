# Two processes with 2 images each: run_suite.py --gpus 2. Torch's SyncBN has no CPU kernel, so
# SyncSSN that has selected BN, which equals it, takes its place.
_base_ = './_solar_cells_.py'
title = 'Two processes, EfficientNet-Lite0 from ImageNet on photographs of solar cells'
stretch = 2  # as solar_cells.py, beside which it stands
bn, ssn = '../demo/efficientnet_bn_solar.py', '../demo/efficientnet_ssn_solar.py'
norms = 'model.backbone.convert_norms'
sync = dict(_delete_=True, to='SyncSSN', normalizers=['IN', 'BN'])
configs = {
    'BN': bn,
    'SyncBN': dict(config=ssn, options={norms: sync, 'custom_hooks.0.let_go': None}, recipe='BN'),
    'FrozenBN': dict(config=bn, options={norms: dict(to='FrozenBN')}),
    'SSN': ssn,
}
del bn, ssn, norms, sync
recipes = 'recipes/solar_cells_2.json'
longer = 'solar_sync_longer'
