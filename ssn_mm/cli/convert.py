"""Any checkpoint that ``load_weights`` understands, as one of a config's network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from ..config_files import files_of
from ..files import check_writes, write_atomically
from ..layers import SSN, switch_norms
from ..publish.configs import build_network
from ..publish.publish import kept_meta, weights_file
from ..weights.authors import from_published, is_published
from ..weights.files import read_checkpoint, state_of
from ..weights.loading import Loading, load_weights
from ..weights.pretrained import start_at_bn


def convert(
    cfg: Config,
    sources: Sequence[str],
    out: str | Path,
    bn_ratio: float | None = None,
    argmax: bool = False,
    num_batches: int | None = None,
    correction: int = 1,
) -> Loading:
    """Writes a checkpoint of a config's network from another's; atomically.

    Args:
        cfg: Describes the network. What the sources do not have is not written, so that it starts
            as ever, such as a head for another task.
        sources: Checkpoints, of parts as well: encoder and decoder.
        out: File to write, .pth or .safetensors.
        bn_ratio: Ratio of BN that SSN and SN start with where the sources have no logits.
        argmax: SSN layers choose their largest ratios at once (two stages, Sec. 4.1).
        num_batches: Of published statistics that are sums, see ``from_published``.
        correction: Of published layers, likewise; 0 also drops it of a converted source.

    Returns:
        What was taken from all sources together.

    Raises:
        FileNotFoundError: A source is not there.
        OSError: ``out`` cannot be written.
        ValueError: ``out`` is a source or the config; a source is damaged or has nothing for this
            network; or a plain norm would stand where an SSN chose another norm, or did not choose;
            or an option has no effect.
    """
    check_writes([out], [*sources, *files_of(cfg)])
    state: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    for source in sources:
        checkpoint = read_checkpoint(source)
        part = state_of(checkpoint, source)
        if num_batches is not None and not is_published(part):
            raise ValueError(f'num_batches={num_batches}, but {source} is no published checkpoint')
        state |= from_published(part, num_batches, correction)
        meta |= checkpoint.get('meta') or {}
    model = build_network(cfg, trust=True)  # the user's own
    report = load_weights(model, state)
    if report.unlike:
        raise ValueError(
            f'{len(report.unlike)} layers learned to be, or to mix, other norms than the '
            f"config's, {', '.join(report.unlike[:3])}...: outputs would differ. Use a config "
            'with SSN, or tools/deploy.py for plain layers'
        )
    written = set(report.loaded) | _settle(model, set(report.loaded), bn_ratio, argmax, correction)
    converted = {key: value for key, value in model.state_dict().items() if key in written}
    # the names of the classes belong to a classifier
    kept = kept_meta(meta) if all(name in converted for name, _ in model.named_parameters()) else {}
    write_atomically(out, weights_file(converted, kept, Path(out).suffix.removeprefix('.')))
    return report


@torch.no_grad()
def _settle(
    model: nn.Module, loaded: set[str], bn_ratio: float | None, argmax: bool, correction: int
) -> set[str]:
    """Sets the logits of layers that were loaded; returns the names of all of their tensors."""
    written: set[str] = set()
    leaning = chosen = 0
    for name, layer in switch_norms(model):
        prefix = f'{name}.' if name else ''
        own = {f'{prefix}{key}' for key in layer.state_dict()}
        if not own & loaded:
            continue
        if bn_ratio is not None and f'{prefix}ratio_logits' not in loaded:
            start_at_bn(layer, bn_ratio)
            leaning += 1
        if argmax and isinstance(layer, SSN):
            largest = layer.ratios().argmax(-1)
            layer.ratio_logits.copy_(nn.functional.one_hot(largest, len(layer.normalizers)))
            chosen += 1
        layer.correction *= correction
        written |= own
    if bn_ratio is not None and not leaning:
        raise ValueError(f'bn_ratio={bn_ratio}, but no SSN or SN is without logits of the sources')
    if argmax and not chosen:
        raise ValueError('argmax asks for SSN layers, the network has none that were loaded')
    return written
