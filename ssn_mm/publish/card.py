"""Model cards and metafile entries; what a checkpoint says is text in them, never markup."""

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml
from mmengine.config import Config
from torch import nn

from ..layers import (
    SSN,
    SwitchNorm,
    count_selected,
    layer_ratios,
    selection_by_stage,
    switch_norms,
)

# by a config's default scope: Hugging Face's name of the task, and the metafiles'
TASKS = {
    'mmpretrain': ('image-classification', 'Image Classification'),
    'mmseg': ('image-segmentation', 'Semantic Segmentation'),
    'mmaction': ('video-classification', 'Action Recognition'),
}


@dataclass(frozen=True)
class Network:
    """A trained network that is published.

    Attributes:
        name: Name of the network.
        weights: Name of the file of its weights.
        cfg: Its config.
        model: The network with these weights.
        meta: What is kept of the checkpoint's ``meta``.
        metrics: What the network reached, by name; may be empty.
    """

    name: str
    weights: str
    cfg: Config
    model: nn.Module
    meta: Mapping[str, Any]
    metrics: Mapping[str, float]


def render_card(network: Network) -> str:
    """A model card: Markdown under Hugging Face's front matter."""
    layers = dict(switch_norms(network.model))
    ratios = layer_ratios(layers) if layers else []
    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters['md'] = escape
    template = environment.from_string(
        Path(__file__).with_name('model_card.md.j2').read_text(encoding='utf-8')
    )
    return template.render(
        name=network.name,
        front_matter=_yaml(_front_matter(network)),
        weights=network.weights,
        norm=_norm(network.cfg),
        data=_data(network.cfg),
        task=_task(network.cfg)[1],
        trained=[(key, network.meta[key]) for key in ('epoch', 'iter') if key in network.meta],
        classes=(network.meta.get('dataset_meta') or {}).get('classes') or [],
        metrics=network.metrics,
        layers=[
            (key, type(m).__name__, *(_selected(m, row) for row in rows))
            for (key, m), rows in zip(layers.items(), ratios, strict=True)
        ],
        counts=count_selected(layers, ratios),
        stages=selection_by_stage(layers, ratios) if layers else [],
        selects=any(isinstance(m, SSN) for m in layers.values()),
    )


def render_metafile(network: Network) -> str:
    """An entry for a ``metafile.yml``, with the keys of those under configs/."""
    cfg, meta, metrics = network.cfg, network.meta, dict(network.metrics)
    result = {'Task': _task(cfg)[1], 'Dataset': _data(cfg), 'Metrics': metrics}
    entry = {
        'Name': network.name,
        'Config': 'config.json',
        'Metadata': {
            'Training Data': _data(cfg),
            'Normalizer': _norm(cfg),
            'Samples per GPU': (cfg.get('train_dataloader') or {}).get('batch_size'),
            'Parameters': sum(p.numel() for p in network.model.parameters()),
            'Epochs': meta.get('epoch'),
            'Iterations': meta.get('iter'),
        },
        'Results': [result] if metrics else None,
        'Weights': network.weights,
    }
    return _yaml({'Models': [entry]})


def escape(text: object) -> str:
    """A text as Markdown, HTML and a table's cell show it: on one line, nothing of it markup."""
    line = ' '.join(str(text).split())
    return re.sub(r'([\\`*_{}\[\]()#+!|~:@$-])', r'\\\1', html.escape(line, quote=False))


def _front_matter(network: Network) -> dict[str, Any]:
    tag, task = _task(network.cfg)
    found: dict[str, Any] = dict(library_name='ssn_mm', pipeline_tag=tag)
    if network.metrics:
        data = dict(name=_data(network.cfg), type=_data(network.cfg))
        reached = [dict(type=key, name=key, value=v) for key, v in network.metrics.items()]
        result = dict(task=dict(type=tag, name=task), dataset=data, metrics=reached)
        found['model-index'] = [dict(name=network.name, results=[result])]
    return found


def _selected(layer: SwitchNorm, row: list[float]) -> str:
    """The normalizer that a row of ratios has selected, else all of them with their ratios."""
    if 1.0 in row:
        return layer.normalizers[row.index(1.0)]
    return ' '.join(f'{n} {p:.2f}' for n, p in zip(layer.normalizers, row, strict=True))


def _task(cfg: Config) -> tuple[str, str]:
    scope = cfg.get('default_scope')
    if scope not in TASKS:
        raise ValueError(f'default_scope must be one of {", ".join(TASKS)}, got {scope!r}')
    return TASKS[scope]


def _norm(cfg: Config) -> str:
    norm = (cfg.model.get('backbone') or {}).get('norm_cfg') or {}
    return str(norm.get('type', 'unknown'))


def _data(cfg: Config) -> str:
    """The type of the training's dataset; of one that wraps another, that of the inner one."""
    node = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    while isinstance(node.get('dataset'), dict):
        node = node['dataset']
    return str(node.get('type', 'unknown'))


def _yaml(content: dict[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
