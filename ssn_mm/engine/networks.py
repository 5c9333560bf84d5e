"""Networks of the libraries that need a repair, mostly for batch norm, one function each."""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers import MixedNorm, SwitchNorm

# what these ask of batch norm is right for SSN and SN as it stands: norm_eval of networks that are
# no mmengine modules, and the first β of ShuffleNetV1
SELF_RELIANT = (
    'mmaction.models.backbones.x3d',
    'mmaction.models.backbones.resnet_audio',
    'mmpretrain.models.backbones.shufflenet_v1',
)


class _HasRunningStatistics(type):
    def __instancecheck__(cls, module: Any) -> bool:
        ours = isinstance(module, SwitchNorm) and module.running_mean is not None
        return ours or isinstance(module, _BatchNorm)


class WithRunningStatistics(metaclass=_HasRunningStatistics):
    """Batch norm, and SSN and SN with 'BN' among their normalizers."""


def _count_in(module: ModuleType) -> None:
    """Lets what a module says of batch norm hold for SSN and SN, which it passes on to nobody."""
    vars(module)['_BatchNorm'] = WithRunningStatistics


def _refuse_masks(sparse_resnet: ModuleType) -> None:
    """SparK's ResNet measures what its mask leaves; it exchanges batch norm for what can."""
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


def _refuse_pictures(resnet_omni: ModuleType) -> None:
    """OmniResNet normalizes pictures by the parameters of its layers, not by the layers."""
    own = resnet_omni.batch_norm

    def batch_norm(inputs: Tensor, module: nn.Module, training: bool | None = None) -> Tensor:
        if isinstance(module, SwitchNorm | MixedNorm):
            raise ValueError(
                f'OmniResNet takes {type(module).__name__} for batch norm where its input is '
                'pictures; leave its nn.BatchNorm3d, or give it clips only'
            )
        return own(inputs, module, training)

    vars(resnet_omni)['batch_norm'] = batch_norm


def _refuse_loss(levit: ModuleType) -> None:
    """LeViT goes on without a norm that mmcv has not folded, whichever it is."""
    own = levit.ConvolutionBatchNorm.fuse

    def fuse(self: Any) -> nn.Module:
        if not isinstance(self.bn, _BatchNorm):
            raise ValueError(
                f'LeViT would drop its {type(self.bn).__name__}, since it folds batch norm alone; '
                'freeze and fold the network with ssn_mm.deploy instead'
            )
        return own(self)

    levit.ConvolutionBatchNorm.fuse = fuse


def _keep_norm(riformer: ModuleType) -> None:
    """RIFormer would go on with a new norm of the same γ and β, and of nothing else."""
    own = riformer.RIFormerBlock.switch_to_deploy

    def switch_to_deploy(self: Any) -> None:
        norm = getattr(self, 'norm1', None)
        own(self)
        if norm is not None:
            for name in ('weight', 'bias'):
                getattr(norm, name).data = getattr(self.norm_reparam, name).data
            self.norm_reparam = norm

    riformer.RIFormerBlock.switch_to_deploy = switch_to_deploy


def _give_threshold(cascade: ModuleType) -> None:
    """mmseg asks the list of a cascade's heads for the threshold of two classes in one channel."""
    own = cascade.CascadeEncoderDecoder._init_decode_head

    def init_decode_head(self: Any, decode_head: Any) -> None:
        own(self, decode_head)
        self.decode_head.threshold = getattr(self.decode_head[-1], 'threshold', None)

    cascade.CascadeEncoderDecoder._init_decode_head = init_decode_head


def _export_mean(gem: ModuleType) -> None:
    """torch.export knows no pooling over a window of unknown size; a mean over the map is equal."""
    own = gem.gem

    def mean(x: Tensor, p: Tensor, eps: float = 1e-6, clamp: bool = True) -> Tensor:
        if not torch.compiler.is_compiling():
            return own(x, p=p, eps=eps, clamp=clamp)
        x = x.clamp(min=eps) if clamp else x
        return x.pow(p).mean((-2, -1), keepdim=True).pow(1.0 / p)

    vars(gem)['gem'] = mean


REPAIRS = dict.fromkeys(SELF_RELIANT, _count_in) | {
    'mmpretrain.models.backbones.riformer': _keep_norm,
    'mmpretrain.models.backbones.levit': _refuse_loss,
    'mmpretrain.models.backbones.sparse_resnet': _refuse_masks,
    'mmaction.models.backbones.resnet_omni': _refuse_pictures,
    'mmseg.models.segmentors.cascade_encoder_decoder': _give_threshold,
    'mmpretrain.models.necks.gem': _export_mean,
}
