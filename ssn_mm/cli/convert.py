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
from ..weights.authors import from_authors, is_authors
from ..weights.files import read_weights
from ..weights.loading import load_weights
from ..weights.loading_report import LoadingReport
from ..weights.pretrained import start_at_bn


def convert(
    cfg: Config,
    sources: Sequence[str],
    out: str | Path,
    bn_ratio: float | None = None,
    argmax: bool = False,
    num_batches: int | None = None,
    correction: int = 1,
) -> LoadingReport:
    """Writes a checkpoint of a config's network from other checkpoints, atomically.

    Args:
        cfg: The config of the network. Tensors that the sources lack, such as a head for another
            task, are not written, so that they start as in any training.
        sources: Files of checkpoints, or of parts of a network, such as encoder and decoder.
        out: File to write, .pth or .safetensors.
        bn_ratio: Ratio of BN, in (0, 1), that SSN and SN start with where the sources have no
            logits.
        argmax: Whether SSN layers select their largest ratios at once (two stages, Sec. 4.1).
        num_batches: How many batches the statistics of authors' checkpoints are sums over; None
            where they are statistics.
        correction: Whether layers keep the unbiased variance of the authors' (1) or have that of
            torch's layers (0).

    Returns:
        What was taken from all sources together.

    Raises:
        FileNotFoundError: A source is not there.
        OSError: ``out`` cannot be written.
        ValueError: ``out`` is a source or the config; a source is damaged or has nothing for this
            network; a plain norm would stand where an SSN has selected another norm, or none; or an
            option has no effect.
    """
    check_writes([out], [*sources, *files_of(cfg)])
    state: dict[str, Any] = {}
    meta: dict[str, Any] = {}
    for source in sources:
        part, about = read_weights(source)
        if num_batches is not None and not is_authors(part):
            raise ValueError(f"num_batches={num_batches}, but {source} is no authors' checkpoint")
        state |= from_authors(part, num_batches)
        meta |= about
    if not correction:
        state = {key: value for key, value in state.items() if not key.endswith('.correction')}
    model = build_network(cfg, trust=True)  # the user's own
    report = load_weights(model, state)
    if report.unlike:
        raise ValueError(
            f'{len(report.unlike)} layers learned to be, or to mix, other norms than the '
            f"config's, {', '.join(report.unlike[:3])}...: outputs would differ. Use a config "
            'with SSN, or tools/deploy.py for plain layers'
        )
    written = set(report.loaded) | _set_logits(model, set(report.loaded), bn_ratio, argmax)
    converted = {key: value for key, value in model.state_dict().items() if key in written}
    # the names of the classes belong to a classifier
    kept = kept_meta(meta) if all(name in converted for name, _ in model.named_parameters()) else {}
    write_atomically(out, weights_file(converted, kept, Path(out).suffix.removeprefix('.')))
    return report


@torch.no_grad()
def _set_logits(
    model: nn.Module, loaded: set[str], bn_ratio: float | None, argmax: bool
) -> set[str]:
    """Sets the logits of SSN and SN layers of which something was loaded.

    Args:
        model: The network.
        loaded: Names of its tensors that were loaded.
        bn_ratio: Ratio of BN for layers without loaded logits; None leaves them.
        argmax: Whether SSN layers select their largest ratios.

    Returns:
        The names of all tensors of these layers.
    """
    written: set[str] = set()
    leaning = selected = 0
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
            selected += 1
        written |= own
    if bn_ratio is not None and not leaning:
        raise ValueError(f'bn_ratio={bn_ratio}, but no SSN or SN is without logits of the sources')
    if argmax and not selected:
        raise ValueError('argmax asks for SSN layers, the network has none that were loaded')
    return written
