"""What mmaction2's wheel lacks, what numpy 2 refuses it, and its networks with SSN and SN."""

import sys
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from ..layers import MixedNorm, SwitchNorm
from .batch_norm import count_in
from .importing import after_import, before_import
from .mmcv import accepted_version

BACKBONES = 'mmaction.models.backbones'
# their own ``train`` says what norm_eval means, and is right for SSN and SN once they count
SELF_RELIANT = (f'{BACKBONES}.x3d', f'{BACKBONES}.resnet_audio')


def apply() -> None:
    """Makes each patch once its module is imported."""
    before_import({'mmaction': accepted_version})
    before_import({'mmaction': stand_in_for_drn})
    after_import(
        dict.fromkeys(SELF_RELIANT, count_in)
        | {
            'mmaction.models.heads.base': score_bfloat16,
            'mmaction.datasets.transforms.processing': let_hue_turn_back,
            'mmaction.evaluation.functional.multisports_utils': convert_arrays_of_one,
            'mmaction.evaluation.metrics.anet_metric': give_progress_bar,
            f'{BACKBONES}.resnet_omni': refuse_pictures,
            f'{BACKBONES}.resnet': start_resnet,
            f'{BACKBONES}.resnet3d': inflate_resnet,
            f'{BACKBONES}.resnet3d_slowfast': inflate_pathway,
            f'{BACKBONES}.resnet_tsm': start_tsm,
            f'{BACKBONES}.mobilenet_v2_tsm': start_mobile,
            f'{BACKBONES}.mobileone_tsm': start_mobile,
        }
    )


def stand_in_for_drn() -> bool:
    """Puts a module in the place of `mmaction.models.localizers.drn.drn`, absent from the wheel.

    The wheel of 1.2.0 left the folder out (open-mmlab/mmaction2#2714), and `import
    mmaction.models` stops there. DRN, a temporal localizer, raises when it is constructed.

    Returns:
        Whether that was needed.
    """
    name = 'mmaction.models.localizers.drn.drn'
    spec = find_spec('mmaction')
    folder = spec.submodule_search_locations if spec else None
    lies_there = folder and Path(folder[0], 'models/localizers/drn').exists()
    if not folder or lies_there or name in sys.modules:
        return False
    sys.modules[name] = ModuleType(name, 'Stand-in by ssn_mm.')
    sys.modules[name].DRN = _MissingDRN  # type: ignore[attr-defined]
    return True


def score_bfloat16(base: ModuleType) -> None:
    """Lets heads measure the accuracy of bfloat16 scores, in NumPy, which has no bfloat16."""
    own = base.BaseHead.loss_by_feat

    @wraps(own)
    def loss_by_feat(self: Any, cls_scores: Any, data_samples: list) -> dict:
        scores = cls_scores.float() if isinstance(cls_scores, Tensor) else cls_scores
        return own(self, scores, data_samples)

    base.BaseHead.loss_by_feat = loss_by_feat


def let_hue_turn_back(processing: ModuleType) -> None:
    """Lets mmaction2's ColorJitter, which TPN's stock configs have, turn hues both ways.

    It adds an offset below 0 to ``uint8``, which numpy 2 refuses.
    """
    import cv2
    import numpy as np

    def adjust_hue(img: Any, factor: float) -> Any:
        hsv = cv2.cvtColor(np.clip(img, 0, 255).astype(np.uint8), cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(np.int16) + int(factor * 255)) % 180
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.float32)

    processing.ColorJitter.adjust_hue = staticmethod(adjust_hue)


def convert_arrays_of_one(module: ModuleType) -> None:
    """Lets ``int`` of an array with one element be that element, in a module that relies on it.

    MultiSports's metric finds the ends of a tube so.
    """
    import numpy as np

    module.int = lambda value: int(np.asarray(value).item())  # type: ignore[attr-defined]


def give_progress_bar(module: ModuleType) -> None:
    """Lets ActivityNet's metric show its progress by mmengine's bar; mmcv's has moved there."""
    from mmengine.utils import ProgressBar

    if not hasattr(module.mmcv, 'ProgressBar'):
        module.mmcv.ProgressBar = ProgressBar


def refuse_pictures(resnet_omni: ModuleType) -> None:
    """Refuses pictures in an OmniResNet of SSN.

    It normalizes them by the parameters of its layers, not by the layers.
    """
    own = resnet_omni.batch_norm

    def batch_norm(inputs: Tensor, module: nn.Module, training: bool | None = None) -> Tensor:
        if isinstance(module, SwitchNorm | MixedNorm):
            raise ValueError(
                f'OmniResNet takes {type(module).__name__} for batch norm where its input is '
                'pictures; leave its nn.BatchNorm3d, or give it clips only'
            )
        return own(inputs, module, training)

    vars(resnet_omni)['batch_norm'] = batch_norm


def start_resnet(resnet: ModuleType) -> None:
    """Lets mmaction2's 2D ResNet start from torchvision's names with any norm on either side.

    Its own way asks the checkpoint for every parameter of a norm layer, ``ratio_logits`` too.
    """
    resnet.ResNet._load_torchvision_checkpoint = _start_from(resnet._load_checkpoint)


def inflate_resnet(resnet3d: ModuleType) -> None:
    """Lets mmaction2's ResNet3d start from 2D ResNets with any norm on either side.

    Its own inflation asks the 2D checkpoint for every parameter of a norm layer (a KeyError for
    ``ratio_logits``, which batch norm's checkpoint lacks), copies SSN's radius, knows norm layers
    called 'bn' only, and leaves the network at random where names have mmpretrain's prefix. And
    ``init_cfg`` is passed over where ``pretrained`` is not given.
    """
    init = resnet3d.ResNet3d._init_weights

    def init_weights(backbone: Any, pretrained: str | None = None) -> None:
        from mmengine.model import initialize

        init(backbone, pretrained)
        if _is_pretrained(backbone.init_cfg):
            initialize(backbone, backbone.init_cfg)

    resnet3d.ResNet3d._inflate_weights = staticmethod(_start_from(resnet3d._load_checkpoint))
    resnet3d.ResNet3d._init_weights = staticmethod(init_weights)


def inflate_pathway(slowfast: ModuleType) -> None:
    """Lets the pathways of SlowFast, SlowOnly and PoseC3D start as ResNet3d does.

    Where the other pathway joins in, a convolution has more inputs than its 2D one. These start
    at 0, as mmaction2 has it.
    """
    slowfast.ResNet3dPathway.inflate_weights = _start_from(slowfast._load_checkpoint)


def start_tsm(tsm: ModuleType) -> None:
    """Lets TSM's and TIN's ResNet start as the 2D ResNet does, whatever wraps its layers.

    Its own way fills nothing, without a word, where names have mmpretrain's prefix; without
    ``pretrained`` it is a TypeError, so that ``init_cfg`` cannot be used.
    """
    init = tsm.ResNetTSM.init_weights

    def init_weights(backbone: Any) -> None:
        from ..weights.inflation import fill, read_2d

        if backbone.pretrained is not None:
            init(backbone)
        elif _is_pretrained(backbone.init_cfg):
            fill(backbone, read_2d(backbone.init_cfg), 'current', keep_radius=True)
        else:
            super(tsm.ResNetTSM, backbone).init_weights()

    tsm.ResNetTSM.load_original_weights = _start_from(tsm._load_checkpoint)
    tsm.ResNetTSM.init_weights = init_weights


def start_mobile(tsm: ModuleType) -> None:
    """Lets TSM's MobileNetV2 and MobileOne start from 2D ones with any norm on either side.

    Their own way loads strictly, which no checkpoint of batch norm survives beside ratio logits,
    nor one with mmpretrain's prefix that MobileNetV2 is not told of; and it needs a checkpoint.
    """
    kind = tsm.MobileNetV2TSM if hasattr(tsm, 'MobileNetV2TSM') else tsm.MobileOneTSM

    def load_original_weights(backbone: Any, logger: Any) -> None:
        from ..weights.inflation import fill, read_2d

        fill(backbone, read_2d(backbone.init_cfg), logger)

    def init_weights(backbone: Any) -> None:
        # MobileNetV2 makes its init_cfg of ``pretrained``
        if backbone.pretrained2d and _is_pretrained(backbone.init_cfg):
            backbone.load_original_weights('current')
        else:
            super(kind, backbone).init_weights()

    kind.load_original_weights, kind.init_weights = load_original_weights, init_weights


def _start_from(load: Any) -> Any:
    """A backbone's way to start from the file that its ``pretrained`` names."""

    def start(backbone: Any, logger: Any) -> None:
        from ..weights.inflation import fill

        fill(backbone, load(backbone.pretrained, map_location='cpu'), logger)

    return start


def _is_pretrained(init_cfg: Any) -> bool:
    return isinstance(init_cfg, dict) and init_cfg['type'] == 'Pretrained'


class _MissingDRN:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise ImportError('the wheel of mmaction2 lacks DRN: install mmaction2 from its repository')
