# The small classifier with each norm: the paper's six, and contestants.
_base_ = './_resnet_digits_.py'
configs = {
    norm.upper(): f'../demo/resnet_{norm}_digits.py'
    for norm in ('bn', 'in', 'ln', 'gn', 'sn', 'ssn')
}
norms = ['BatchRenorm', 'ChannelLN', 'DyT', 'EvoNorm-S0', 'FRN+TLU', 'GN+WS', 'RMSNorm']
# networks are narrow; batch renormalization is batch norm for the first 250 steps
norm_options = dict(num_groups=8, momentum=0.1, steps=(250, 1000, 1600))
