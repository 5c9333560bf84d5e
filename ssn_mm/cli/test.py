"""What tools/test.py does, for any config of the three libraries."""

from mmengine.config import Config

from ..config_files import check_parts, files_of
from ..datasets.check.preflight import check_datasets
from ..datasets.nested import scope_of
from ..engine.start import register_start
from ..files import check_writes
from ..weights.files import read_weights
from .evaluation_config import complete_test, enable_painting, enable_tta, keep_predictions
from .outputs import build_runner, check_label_maps


def evaluate(
    cfg: Config,
    checkpoint: str,
    tta: bool = False,
    out: str | None = None,
    show_dir: str | None = None,
) -> dict[str, float]:
    """Evaluates a checkpoint on a config's test data.

    Args:
        cfg: From :func:`ssn_mm.cli.config.load_config`.
        checkpoint: Checkpoint file to load.
        tta: Whether to test with the config's ``tta_pipeline`` (multi-scale for segmentation).
        out: Folder for predicted label maps (mmseg), or .pkl file for pickled results (others).
        show_dir: Folder for pictures with the predictions painted over.

    Returns:
        The metrics.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        OSError: ``out`` cannot be written.
        ValueError: ``out`` would be written over what is read; ``tta`` for a config without
            ``tta_pipeline``, ``show_dir`` for one without a visualization hook, a config without
            test and validation data or without metrics, or the checkpoint of a frozen network.
    """
    _, meta = read_weights(checkpoint)
    complete_test(cfg)
    check_parts(cfg)
    check_datasets(cfg, ('test',))
    if 'frozen' in meta:
        raise ValueError(
            f'{checkpoint} is of a frozen network, which the config does not describe; test the '
            'checkpoint that it was frozen from, its outputs are the same, or use tools/infer.py'
        )
    cfg.load_from, cfg.resume = checkpoint, False
    if show_dir:
        enable_painting(cfg, show_dir)
    maps = out if scope_of(cfg) == 'mmseg' else None
    if out and not maps:
        if not out.endswith(('.pkl', '.pickle')):
            raise ValueError(f'--out is a file of pickled predictions, .pkl, got {out!r}')
        check_writes([out], [checkpoint, *files_of(cfg)])
    if out:
        keep_predictions(cfg, out)
    if not cfg.test_evaluator and not show_dir:
        raise ValueError(
            'the config has no test_evaluator or val_evaluator, so there is nothing to measure; '
            'set one, or write the predictions with --out'
        )
    if tta:
        enable_tta(cfg)
    runner = build_runner(cfg, training=False)
    register_start(runner)
    if maps:
        check_label_maps(runner.test_loop.dataloader.dataset, maps)
    return runner.test()
