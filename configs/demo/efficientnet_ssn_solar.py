_base_ = './_efficientnet_solar_.py'
model = dict(backbone=dict(convert_norms=dict(to='SSN', start=dict(FBN=1))))
# selects within the first half, so that the other half trains what was selected
custom_hooks = [dict(type='SSNRadiusHook', schedule=dict(type='linear', end=2), let_go=0.05)]
