"""Turns a config into one for testing, however its parts are written."""

import copy
from typing import Any

from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from ..datasets.nested import data_loaders, replace_pipelines, scope_of, type_name
from ..datasets.pipelines import averages_views, dataset_of_tests

# hooks that paint predictions, and the options that switch them on
_HOOKS = {'SegVisualizationHook': 'draw', 'VisualizationHook': 'enable'}
_VISUALIZERS = {
    'mmseg': 'SegLocalVisualizer',
    'mmpretrain': 'UniversalVisualizer',
    'mmaction': 'ActionVisualizer',
}


@TRANSFORMS.register_module()
class MirrorInputs(BaseTransform):
    """A step that mirrors the inputs that were packed for a network.

    Args:
        mirror: Whether it mirrors them.
    """

    def __init__(self, mirror: bool) -> None:
        self.mirror = mirror

    def transform(self, results: dict) -> dict:
        """Turns left and right of ``inputs``, (..., H, W)."""
        return results | dict(inputs=results['inputs'].flip(-1)) if self.mirror else results


def complete_test(cfg: Config) -> None:
    """Lets validation data and metrics take the place of a test's that a config lacks.

    Raises:
        ValueError: It has neither test nor validation data.
    """
    if not cfg.get('test_dataloader'):
        if not cfg.get('val_dataloader'):
            raise ValueError('the config has neither test_dataloader nor val_dataloader; set one')
        print('The config has no test_dataloader; its validation data is tested.')
        cfg.test_dataloader = copy.deepcopy(cfg.val_dataloader)
    if cfg.get('test_evaluator') is None:
        cfg.test_evaluator = copy.deepcopy(cfg.get('val_evaluator')) or []
    if cfg.get('test_cfg') is None:
        cfg.test_cfg = {}
    validation = [f'val_{part}' for part in ('dataloader', 'evaluator', 'cfg')]
    if any(cfg.get(name) is None for name in validation):
        cfg.update(dict.fromkeys(validation))  # mmengine takes all of them or none


def enable_tta(cfg: Config) -> None:
    """Averages over a config's ``tta_pipeline``; mmpretrain's default is picture and mirror image.

    A config whose model is a ``tta_model`` already stays as it is.

    Raises:
        ValueError: The config has no ``tta_pipeline`` or ``tta_model``, and its library no default.
    """
    if averages_views(cfg):
        return  # the model of the config averages, over views of the test pipeline
    if scope_of(cfg) == 'mmpretrain' and 'tta_pipeline' not in cfg:
        cfg.setdefault('tta_model', dict(type='mmpretrain.AverageClsScoreTTA'))
        steps = list(copy.deepcopy(dataset_of_tests(cfg)['pipeline']))
        views = [dict(type='MirrorInputs', mirror=mirror) for mirror in (True, False)]
        both = dict(type='mmcv.TestTimeAug', transforms=[[steps.pop()], views])
        cfg.tta_pipeline = [*steps, both]
    if 'tta_pipeline' not in cfg or 'tta_model' not in cfg:
        raise ValueError(
            '--tta needs tta_pipeline and tta_model, the config has none'
            + ('; its test pipeline has the views' if scope_of(cfg) == 'mmaction' else '')
        )
    for loader in data_loaders(cfg, 'test'):
        replace_pipelines(loader['dataset'], cfg.tta_pipeline)
    wrapper = copy.deepcopy(cfg.tta_model)  # whose type may be a class, which ** would look up
    wrapper['module'] = cfg.model
    cfg.model = wrapper


def enable_painting(cfg: Config, show_dir: str) -> None:
    """Has the library's own hook paint predictions into a folder.

    Raises:
        ValueError: The config has no such hook, or it is mmaction2's, which does not run.
    """
    hooks = [*cfg.get('default_hooks', {}).values(), *(cfg.get('custom_hooks') or [])]
    painting = [h for h in hooks if isinstance(h, dict) and type_name(h) in _HOOKS]
    if not painting:
        raise ValueError('--show-dir needs default_hooks.visualization, the config has none')
    if scope_of(cfg) == 'mmaction':
        raise ValueError(
            '--show-dir: the painting hook of mmaction2 and its visualizer do not fit each other; '
            'tools/infer.py paints what is predicted of videos'
        )
    for hook in painting:
        hook.update(interval=1, **{_HOOKS[type_name(hook)]: True})
    if not cfg.get('visualizer'):
        kind = _VISUALIZERS.get(scope_of(cfg), 'Visualizer')
        cfg.visualizer = dict(type=kind, vis_backends=[dict(type='LocalVisBackend')])
    cfg.visualizer.save_dir = show_dir


def keep_predictions(cfg: Config, out: str) -> None:
    """Has a test write what was predicted: label maps into a folder, else all into a file."""
    kept: dict[str, Any] = dict(type='DumpResultsAtomically', out_file_path=out)
    if scope_of(cfg) == 'mmseg':
        kept = dict(type='mmseg.IoUMetric', format_only=True, output_dir=out)
    given = cfg.test_evaluator
    if isinstance(given, dict) and 'metrics' in given:  # an evaluator of its own type
        metrics = given['metrics']
        given['metrics'] = [*(metrics if isinstance(metrics, list) else [metrics]), kept]
    else:
        cfg.test_evaluator = [*(given if isinstance(given, list | tuple) else [given]), kept]
