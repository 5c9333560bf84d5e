"""Shows, in libraries without our patches, the fault that each patch is for.

tests/patches/test_needed.py runs it. It prints JSON: `patched`, the modules that ssn_mm.patches
changes, and `mended`, those of them whose fault did not show, with the reason.
"""

import json
import os
import sys
import tempfile
import traceback
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

from showing import (
    OURS,
    THIN,
    NoFaultError,
    bomb,
    calls,
    nothing_said,
    one_layer,
    raises,
    refuses_to_start,
    saved,
    saved_resnet,
    shows,
    ssn,
    trains_on,
)

ROOT = Path(__file__).parents[2]

# -- the fault that each patched module has, in the order of the tree of imports ------------------


def swa_utils(module):
    layer = ssn()
    module.update_bn([import_module('torch').randn(2, 4, 3, 3)], one_layer(layer))
    shows(not layer.running_mean.any())


def numpy(module):
    users = {
        'in1d': ('mmpretrain', 'evaluation/metrics/retrieval.py'),
        'trapz': ('mmaction', 'evaluation/functional/accuracy.py'),
        'Inf': ('mmaction', 'datasets/transforms/pose_transforms.py'),
        'NAN': ('mmaction', 'evaluation/functional/ava_evaluation/metrics.py'),
        'float': ('mmcv', 'ops/pixel_group.py'),
    }
    needed = {name for name, file in users.items() if calls(*file, f'np.{name}')}
    needed -= vars(module).keys()
    if needed != set(users):
        raise NoFaultError(f'only {needed} of {set(users)} are lacking and called')


def interpolate(module):
    shows(calls('mmpretrain', 'models/utils/embed.py', 'interpolate.interp2d('))
    with raises('NotImplementedError', 'interp2d'):
        module.interp2d([0, 1, 2, 3], [0, 1, 2, 3], [[0] * 4] * 4, kind='cubic')


def package_utils(module):
    shows('pkg_resources' in module.is_installed.__code__.co_names)


def base_dataset(module):
    from weakref import ref

    subset = module.BaseDataset(lazy_init=True)._copy_without_annotation()
    kept = ref(subset)
    del subset
    shows(kept() is not None)


def pickle_handler(module):
    shows(callable(module.PickleHandler().load_from_fileobj(bomb())))


def yaml_handler(module):
    from io import StringIO

    shows(module.YamlHandler().load_from_fileobj(StringIO('!!python/object/apply:os.getcwd []')))


def io(module):
    shows(callable(module.datafrombytes(bomb().getvalue(), 'pickle')))


def logging(module):
    import torch

    torch.save(module.HistoryBuffer([1.0], [1]), 'history.pth')
    with raises('UnpicklingError', 'Weights only'):
        torch.load('history.pth')


def config(module):
    with raises('Exception', ''):
        module.Config._get_cfg_path('ssn_mm::deeplab_ssn_ade20k.py', __file__)


def base_module(module):
    from mmseg.models import ResNet

    net = ResNet(**THIN, norm_eval=True)
    net.train()
    shows(net.bn1.training)


def optimizer_wrapper(module):
    shows(module.has_batch_norm(one_layer(import_module('torch').nn.BatchNorm2d(4))))
    shows(not module.has_batch_norm(one_layer(ssn())))


def checkpoint(module):
    import torch

    layer = ssn()
    group_norm = {'gn1.weight': torch.full((4,), 2.0), 'gn1.bias': torch.zeros(4)}
    module.load_state_dict(torch.nn.ModuleDict(dict(bn1=layer)), group_norm, strict=False)
    shows((layer.weight == 1).all())


def fuse_conv_bn(module):
    import torch
    from torch import nn

    net = nn.Sequential(nn.Conv2d(3, 6, 1), ssn(6), nn.BatchNorm2d(6)).eval()
    nn.init.uniform_(net[2].running_var)
    x = torch.randn(2, 3, 4, 4)
    expected = net(x)
    shows(not torch.allclose(module.fuse_conv_bn(net)(x), expected, atol=1e-3))


def photometric(module):
    with raises('OverflowError', 'out of bounds'):
        module.adjust_hue(import_module('numpy').zeros((2, 2, 3), 'uint8'), -0.1)


def encoder_decoder(module):
    torch, cfg = import_module('torch'), SimpleNamespace(stride=(2, 2), crop_size=(2, 2))
    model = one_layer(torch.nn.InstanceNorm2d(1))
    vars(model).update(test_cfg=cfg, out_channels=1, encode_decode=lambda inputs, _: inputs)
    with nothing_said():
        module.EncoderDecoder.slide_inference(model, torch.ones(1, 1, 4, 4), [{}])


def cascade_encoder_decoder(module):
    head = dict(type='FCNHead', in_channels=4, channels=4, num_classes=2, out_channels=1,
                threshold=0.4, norm_cfg=OURS)  # fmt: skip
    cascade = SimpleNamespace(num_stages=2)
    with raises('AttributeError', 'threshold'):
        module.CascadeEncoderDecoder._init_decode_head(cascade, [head, head])
        cascade.decode_head.threshold  # noqa: B018, which inference asks for


def shufflenet_v1(module):
    net = module.ShuffleNetV1(norm_cfg=OURS)
    net.init_weights()
    shows(not any(p.any() for n, p in net.named_parameters() if n.endswith('bn.bias')))


def precise_bn_hook(module):
    import torch

    class Model(torch.nn.Sequential):
        def data_preprocessor(self, data, _):
            return dict(input=data)

    layer = ssn()
    data = torch.utils.data.DataLoader(torch.randn(4, 4, 3, 3), 4)
    module.update_bn_stats(Model(layer), data, 4)
    shows(not layer.running_mean.any())


def riformer(module):
    import torch

    block = module.RIFormerBlock(4, norm_cfg=OURS, layer_scale_init_value=1.0)
    block(torch.randn(8, 4, 3, 3) + 5)  # moves the running mean
    block.switch_to_deploy()
    shows(not block.norm_reparam.running_mean.any())


def levit(module):
    from torch import nn

    block = module.ConvolutionBatchNorm(3, 4).eval()
    block.bn = nn.GroupNorm(2, 4)
    shows(isinstance(block.fuse(), nn.Conv2d))  # and the norm is gone


def sparse_resnet(module):
    module.SparseResNet(18, norm_cfg=OURS)  # is made, of layers that know of no mask


def gem(module):
    import torch

    neck, size = module.GeneralizedMeanPooling().eval(), torch.export.Dim('size', min=2, max=64)
    with raises('Exception', ''):
        torch.export.export(neck, (torch.ones(1, 4, 8, 8),), dynamic_shapes=({2: size, 3: size},))


def mmaction_base(module):
    import torch

    head = SimpleNamespace(topk=(1,), num_classes=3, label_smooth_eps=0, loss_cls=lambda *_: {})
    sample = SimpleNamespace(gt_label=torch.tensor([1]))
    with raises('TypeError', 'BFloat16'):
        module.BaseHead.loss_by_feat(head, torch.ones(2, 3, dtype=torch.bfloat16), [sample] * 2)


def processing(module):
    with raises('Exception', ''):
        module.ColorJitter.adjust_hue(import_module('numpy').ones((2, 2, 3), 'float32'), -0.1)


def multisports_utils(module):
    import numpy as np

    with raises('TypeError', 'only'):
        module.iou3dt_voc(*[np.array([[f, 0, 0, 9, 9] for f in (1.0, 2, 3)])] * 2)


def anet_metric(module):
    with raises('AttributeError', 'ProgressBar'):
        module.ANetMetric.proposals2json([], show_progress=True)


def resnet_omni(module):
    import torch

    net = module.OmniResNet(layers=[1, 1, 1, 1])
    net.layer1[0].bn2 = ssn(64)
    net(torch.randn(2, 3, 32, 32))  # takes SSN for batch norm


def build_functions(module):
    told, registry = [], import_module('mmengine').MODELS
    import_module('ssn_mm.patches.building').after_build(told.append)
    module.build_model_from_cfg(dict(type=SimpleNamespace, backbone=None), registry)
    shows(not told)


def x3d(module):
    shows(trains_on(module.X3D(norm_cfg=OURS, norm_eval=True)))


def resnet_audio(module):
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope('mmaction'):
        shows(trains_on(module.ResNetAudio(50, None, norm_cfg=OURS, norm_eval=True)))


def resnet(module):
    net = module.ResNet(18, pretrained=saved_resnet(), norm_cfg=OURS)
    refuses_to_start(net, 'KeyError', 'ratio_logits')


def resnet3d(module):
    net = module.ResNet3d(pretrained=saved_resnet(), **THIN)
    refuses_to_start(net, 'KeyError', 'ratio_logits')


def resnet3d_slowfast(module):
    net = module.ResNet3dPathway(pretrained=saved_resnet(), **THIN)
    refuses_to_start(net, 'KeyError', 'ratio_logits')


def resnet_tsm(module):
    init_cfg = dict(type='Pretrained', checkpoint=saved_resnet())
    with raises('TypeError', ''):
        module.ResNetTSM(18, norm_cfg=OURS, init_cfg=init_cfg).init_weights()


def mobilenet_v2_tsm(module):
    from mmpretrain.models import MobileNetV2

    net = module.MobileNetV2TSM(pretrained=saved(MobileNetV2(), 'backbone.'), norm_cfg=OURS)
    refuses_to_start(net, 'RuntimeError', 'Missing key')


def mobileone_tsm(module):
    from mmpretrain.models import MobileOne

    init_cfg = dict(type='Pretrained', checkpoint=saved(MobileOne('s0'), 'backbone.'))
    with raises('RuntimeError', 'Missing key'):
        module.MobileOneTSM('s0', norm_cfg=OURS, init_cfg=init_cfg).init_weights()


def torchvision(_):
    with raises('RuntimeError', 'operator torchvision::nms does not exist'):
        import_module('torchvision')


def ext_loader(module):
    with raises('ModuleNotFoundError', 'mmcv._ext'):
        import_module('mmcv.ops')


def mmaction(_):
    with raises('ModuleNotFoundError', 'mmaction.models.localizers.drn'):
        import_module('mmaction.models.localizers')


def mmseg(_):
    import mmcv

    with patch.object(mmcv, '__version__', '2.2.0'), raises('AssertionError', 'incompatible'):
        import_module('mmseg')


# -- an interpreter without patches ---------------------------------------------------------------

# the libraries' own imports need these patches, so their faults are shown first, and mended
IMPORTS = {'torchvision': torchvision, 'mmengine.utils.package_utils': package_utils}
IMPORTS |= {'mmcv.utils.ext_loader': ext_loader, 'mmseg': mmseg, 'mmaction': mmaction}
AT_ONCE = {'torch.optim.swa_utils': swa_utils}  # patched without waiting for an import
FAULTS = {
    'numpy': numpy,
    'scipy.interpolate': interpolate,
    'mmengine.dataset.base_dataset': base_dataset,
    'mmengine.fileio.handlers.pickle_handler': pickle_handler,
    'mmengine.fileio.handlers.yaml_handler': yaml_handler,
    'mmengine.logging': logging,
    'mmengine.config.config': config,
    'mmengine.registry.build_functions': build_functions,
    'mmengine.model.base_module': base_module,
    'mmengine.optim.optimizer.optimizer_wrapper': optimizer_wrapper,
    'mmengine.runner.checkpoint': checkpoint,
    'mmcv.cnn.utils.fuse_conv_bn': fuse_conv_bn,
    'mmcv.image.photometric': photometric,
    'mmseg.utils.io': io,
    'mmseg.models.segmentors.encoder_decoder': encoder_decoder,
    'mmseg.models.segmentors.cascade_encoder_decoder': cascade_encoder_decoder,
    'mmpretrain.models.backbones.shufflenet_v1': shufflenet_v1,
    'mmpretrain.engine.hooks.precise_bn_hook': precise_bn_hook,
    'mmpretrain.models.backbones.riformer': riformer,
    'mmpretrain.models.backbones.levit': levit,
    'mmpretrain.models.backbones.sparse_resnet': sparse_resnet,
    'mmpretrain.models.necks.gem': gem,
    'mmaction.models.heads.base': mmaction_base,
    'mmaction.datasets.transforms.processing': processing,
    'mmaction.evaluation.functional.multisports_utils': multisports_utils,
    'mmaction.evaluation.metrics.anet_metric': anet_metric,
    'mmaction.models.backbones.resnet_omni': resnet_omni,
    'mmaction.models.backbones.x3d': x3d,
    'mmaction.models.backbones.resnet_audio': resnet_audio,
    'mmaction.models.backbones.resnet': resnet,
    'mmaction.models.backbones.resnet3d': resnet3d,
    'mmaction.models.backbones.resnet3d_slowfast': resnet3d_slowfast,
    'mmaction.models.backbones.resnet_tsm': resnet_tsm,
    'mmaction.models.backbones.mobilenet_v2_tsm': mobilenet_v2_tsm,
    'mmaction.models.backbones.mobileone_tsm': mobileone_tsm,
}
ALL = IMPORTS | AT_ONCE | FAULTS
LIBRARIES = ('torchvision', 'numpy', 'scipy', 'mmengine', 'mmcv', 'mmseg', 'mmpretrain', 'mmaction')


def unpatched():
    """Imports ssn_mm without its patches; returns each, with a function that makes it."""
    stub = ModuleType('ssn_mm.patches')
    stub.__path__, stub.apply = [str(ROOT / 'ssn_mm/patches')], lambda: None
    sys.modules[stub.__name__] = stub
    import_module('ssn_mm')
    patches, importing = {}, import_module('ssn_mm.patches.importing')
    importing.before_import = importing.after_import = patches.update
    for library in LIBRARIES:
        import_module(f'ssn_mm.patches.{library}').apply()
    return patches


def main():
    patches = unpatched()
    mended = {}
    import_module('mmcv').__version__ = '2.1.0'  # a later one is refused where nothing is patched
    for name, fault in ALL.items():
        try:
            module = None if name in ('torchvision', 'mmseg', 'mmaction') else import_module(name)
            fault(module)
        except Exception:
            mended[name] = traceback.format_exc()
        if name in IMPORTS and name in patches:
            made = patches[name](*([] if module is None else [module]))
            if isinstance(made, AbstractContextManager):  # around the import
                made.__enter__()
    print(json.dumps(dict(patched=sorted({*patches, *AT_ONCE}), mended=mended)))


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main()
