# EfficientNet-Lite0 with each norm. SSN starts at batch norm by constants, FBN, which computes what
# the pretrained network does; without FBN at BN; 'even' at equal ratios of all normalizers.
_base_ = './_solar_cells_.py'
bn, ssn = '../demo/efficientnet_bn_solar.py', '../demo/efficientnet_ssn_solar.py'
norms, three = 'model.backbone.convert_norms', ['IN', 'LN', 'BN']
even = {f'{norms}.start': 'even', 'custom_hooks.0.let_go': None}
configs = {
    'BN': bn,
    'FrozenBN': dict(config=bn, options={norms: dict(to='FrozenBN')}),
    'GN': dict(config=bn, options={norms: dict(to='GN', num_groups=8)}),  # γ and β stay
    'SSN': ssn,
    'SSN from BN': dict(config=ssn, options={f'{norms}.start': 'kept'}),
    'SSN even': dict(config=ssn, options=even),
    'SSN without FBN': dict(
        config=ssn, options={f'{norms}.start': 'kept', f'{norms}.normalizers': three}
    ),
    'SSN even without FBN': dict(config=ssn, options={**even, f'{norms}.normalizers': three}),
}
del bn, ssn, norms, three, even
