_base_ = './_efficientnet_solar_.py'
