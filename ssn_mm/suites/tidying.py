"""Results of suites as runs of a study."""

import math
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from ..config_files import entries
from ..contestants.registry import registered
from .results import Results
from .study import VERSION, StudyRun
from .training import unpack

FACTS = ('norm', 'selector', 'batch')
_SELECTORS: dict[Any, str] = {'SSN': 'sparsestmax', 'SyncSSN': 'sparsestmax', 'SN': 'softmax'}


def facts_of(cfg: Config) -> dict[str, Any]:
    """What a config says of its run: ``norm``, ``selector`` and ``batch``; None where nothing.

    The norm is the contestant of the network's first ``norm_cfg``, or its ``type``, or what its
    first ``convert_norms`` converts to. The selector is its own, or the default of SSN and SN.
    """
    stated = (
        dict(type=value.get('to', 'SSN')) if key == 'convert_norms' else value
        for key, value in entries(cfg.get('model'))
        if key in ('norm_cfg', 'convert_norms') and isinstance(value, Mapping)
    )
    norm_cfg = next(stated, {})
    batch = (cfg.get('train_dataloader') or {}).get('batch_size')
    kind = norm_cfg.get('type')
    norm = None if kind is None else _name(dict(norm_cfg))
    return dict(norm=norm, selector=norm_cfg.get('selector', _SELECTORS.get(kind)), batch=batch)


def _name(norm_cfg: dict[str, Any]) -> str:
    kind = str(norm_cfg['type'])
    alike = [own for own in registered() if kind in own.types]
    equal = [own for own in alike if norm_cfg in (own.config(2), own.config(3))]
    # GN of other groups than it states is GN, not LN, which is GN of one group
    best = [*equal, *(own for own in alike if own.name == kind), *alike]
    return best[0].name if best else kind


def study_runs(results: Results) -> list[StudyRun]:
    """The runs of a suite that are done, as lines of a study."""
    return [_study_run(results, row) for row in results.done]


def _study_run(results: Results, row: Mapping[str, Any]) -> StudyRun:
    metrics = {name: value for name, value in row['metrics'].items() if math.isfinite(value)}
    environment, provenance = row.get('environment', {}), row.get('provenance', {})
    curves = {
        name: [list(at), [value if math.isfinite(value) else None for value in values]]
        for name, (at, values) in row['curves'].items()
    }
    others = {key: str(environment[key]) for key in ('python', 'ssn_mm', 'commit') if environment}
    return StudyRun(
        version=VERSION,
        suite=results.name,
        run=row['run'],
        config=row['config'],
        label=row['label'],
        **{key: row.get(key) for key in FACTS},
        variant=row['variant'],
        seed=row['seed'],
        metric=results.main,
        value=metrics.get(results.main),
        metrics=metrics,
        curves=curves,
        selection=_selection(row['ratios']),
        seconds=row.get('seconds'),
        seconds_per_iteration=row['seconds_per_iteration'],
        memory=row['memory'],
        device=environment.get('device', ''),
        date=environment.get('date', ''),
        data=row.get('data', ''),
        versions={**{key: own for key, own in provenance.items() if own}, **others},
    )


def _selection(packed: Mapping[str, Any] | None) -> dict[str, list[str]] | None:
    """The normalizers of mean and variance that each layer has selected in the end."""
    if packed is None:
        return None
    ratios = unpack(packed)
    return {
        layer: [_selected(row, ratios.normalizers) for row in last]
        for layer, last in zip(ratios.layers, ratios.ratios[-1].tolist(), strict=True)
    }


def _selected(ratios: list[float], normalizers: Any) -> str:
    return normalizers[ratios.index(1)] if 1 in ratios else ''
