"""mmpretrain's networks and hooks that ask for batch norm alone, or that cannot be exported."""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers import SwitchNorm
from .batch_norm import count_in
from .importing import after_import


def apply() -> None:
    """Makes each patch once its module is imported."""
    after_import(
        {
            'mmpretrain.models.backbones.shufflenet_v1': count_in,  # it sets the first β of blocks
            'mmpretrain.engine.hooks.precise_bn_hook': count_in,  # it measures layers
            'mmpretrain.models.backbones.riformer': keep_norm,
            'mmpretrain.models.backbones.levit': refuse_fold,
            'mmpretrain.models.backbones.sparse_resnet': refuse_masks,
            'mmpretrain.models.necks.gem': export_mean,
        }
    )


def keep_norm(riformer: ModuleType) -> None:
    """Lets RIFormer's deployment keep its norm layer.

    Its own way goes on with a new norm that has the same γ and β, and nothing else.
    """
    own = riformer.RIFormerBlock.switch_to_deploy

    def switch_to_deploy(self: Any) -> None:
        norm = getattr(self, 'norm1', None)
        own(self)
        if norm is not None:
            for name in ('weight', 'bias'):
                getattr(norm, name).data = getattr(self.norm_reparam, name).data
            self.norm_reparam = norm

    riformer.RIFormerBlock.switch_to_deploy = switch_to_deploy


def refuse_fold(levit: ModuleType) -> None:
    """Refuses to let LeViT fold a norm that is not batch norm, which it would drop."""
    own = levit.ConvolutionBatchNorm.fuse

    def fuse(self: Any) -> nn.Module:
        if not isinstance(self.bn, _BatchNorm):
            raise ValueError(
                f'LeViT would drop its {type(self.bn).__name__}, since it folds batch norm alone; '
                'freeze and fold the network with ssn_mm.deploy instead'
            )
        return own(self)

    levit.ConvolutionBatchNorm.fuse = fuse


def refuse_masks(sparse_resnet: ModuleType) -> None:
    """Refuses SSN and SN in SparK's ResNet, whose norms measure what a mask leaves."""
    own = sparse_resnet.SparseResNet.dense_model_to_sparse

    def dense_model_to_sparse(self: nn.Module, m: nn.Module, enable_sync_bn: bool) -> nn.Module:
        if isinstance(m, SwitchNorm):
            raise ValueError(
                f'SparseResNet normalizes what its mask leaves, which {type(m).__name__} cannot: '
                "pretrain with norm_cfg=dict(type='SparseSyncBatchNorm2d'), and start a ResNet of "
                'SSN from these weights'
            )
        return own(self, m, enable_sync_bn)

    sparse_resnet.SparseResNet.dense_model_to_sparse = dense_model_to_sparse


def export_mean(gem: ModuleType) -> None:
    """Lets generalized mean pooling be exported.

    torch.export knows no pooling over a window of unknown size; a mean over the map is equal.
    """
    own = gem.gem

    def mean(x: Tensor, p: Tensor, eps: float = 1e-6, clamp: bool = True) -> Tensor:
        if not torch.compiler.is_compiling():
            return own(x, p=p, eps=eps, clamp=clamp)
        x = x.clamp(min=eps) if clamp else x
        return x.pow(p).mean((-2, -1), keepdim=True).pow(1.0 / p)

    vars(gem)['gem'] = mean
