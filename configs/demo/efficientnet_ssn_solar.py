_base_ = './_efficientnet_solar_.py'
model = dict(backbone=dict(convert_norms=dict(to='SSN', start=dict(FBN=1))))
custom_hooks = [dict(type='SSNRadiusHook', let_go=0.1)]
