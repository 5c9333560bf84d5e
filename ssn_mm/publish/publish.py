"""A checkpoint as a folder to give away: weights alone, under a name that tells their hash."""

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from ..config_files import files_of
from ..files import check_replaceable, write_folder
from ..records import read_lines
from ..weights.content import load_strictly
from ..weights.files import read_weights
from ..weights.safetensors import to_safetensors
from .card import Network, render_card, render_metafile
from .configs import build_network, parse_config, plain_config

FORMATS = ('pth', 'safetensors')


def publish(
    checkpoint: str | Path,
    cfg: Config | None = None,
    out: str | Path | None = None,
    file_format: str = 'pth',
    metrics: Mapping[str, float] | None = None,
    force: bool = False,
) -> Path:
    """Publishes a checkpoint as a folder, which is complete or not there.

    In it are the weights, ``<name>-<first 8 hex digits of their SHA-256>.pth``, which PyTorch reads
    as weights only, with the classes' names and no more; the config as plain data; a model card,
    ``README.md``, for GitHub and Hugging Face; and an entry for a metafile. Optimizer, schedulers,
    logs, waiting gradients, and the run's own entries of the config (``work_dir``, ``load_from``)
    stay behind. A training with EMAHook gives its averaged weights, which mmengine keeps as
    ``state_dict``; those in ``ema_state_dict``, in spite of the name, are the others, and stay
    behind, too.

    Args:
        checkpoint: A checkpoint that a training wrote.
        cfg: The config of the training; the one in the checkpoint, read as data, if None.
        out: The folder to make; published/<name> if None.
        file_format: 'pth' or 'safetensors'.
        metrics: What the network reached, by name; what ``scalars.json`` in the work dir has of it
            if None.
        force: Whether to replace the folder if it exists.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ImportError: The format is 'safetensors', and its package is not installed.
        OSError: The folder cannot be written.
        ValueError: The folder exists, or with ``force`` holds the checkpoint or the config; the
            format is neither; there is no config; or the checkpoint is of another network, or a
            frozen one.
    """
    if file_format not in FORMATS:
        raise ValueError(f'the format is one of {FORMATS}, got {file_format!r}')
    state, meta = read_weights(checkpoint)
    checkpoint = Path(checkpoint)
    trusted = cfg is not None  # the user's own
    cfg = cfg or _config_of(meta, checkpoint)
    name = _name(cfg, checkpoint)
    folder = Path(out or Path('published') / name)
    check_replaceable(folder, force, [checkpoint, *files_of(cfg)])
    if 'frozen' in meta:
        raise ValueError(f'{checkpoint} is of a frozen network; publish what it was frozen from')
    model = build_network(cfg, trusted)
    load_strictly(model, state, checkpoint)
    kept = kept_meta(meta)
    content = weights_file(state, kept, file_format)
    weights = f'{name}-{hashlib.sha256(content).hexdigest()[:8]}.{file_format}'
    found = dict(metrics) if metrics else metrics_of(checkpoint)
    network = Network(name, weights, cfg, model, kept, found)
    files = {
        weights: content,
        'config.json': json.dumps(plain_config(cfg), indent=1).encode(),
        'README.md': render_card(network).encode(),
        'metafile.yml': render_metafile(network).encode(),
    }
    write_folder(folder, files)
    return folder


def kept_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a checkpoint's ``meta`` that loading needs, and how long it was trained.

    Raises:
        ValueError: The part is not plain data.
    """
    kept = {key: meta[key] for key in ('dataset_meta', 'epoch', 'iter') if meta.get(key)}
    try:
        return json.loads(json.dumps(kept))
    except TypeError as error:
        raise ValueError(f"the checkpoint's dataset_meta is no plain data: {error}") from error


def weights_file(state: Mapping[str, Tensor], meta: Mapping[str, Any], file_format: str) -> bytes:
    """The bytes of a file of weights and meta; equal ones make equal files."""
    if file_format == 'safetensors':
        return to_safetensors(state, meta)
    own = {key: value.detach().cpu().clone() for key, value in state.items()}
    file = io.BytesIO()
    torch.save(dict(state_dict=own, meta=dict(meta)), file)
    return file.getvalue()


def read_metrics(words: Sequence[str]) -> dict[str, float]:
    """Numbers by name, from words like 'mIoU=66.5' and JSON files.

    Raises:
        ValueError: A word is neither.
    """
    found: dict[str, float] = {}
    for word in words:
        name, given, value = word.rpartition('=')
        try:
            content = {name: value} if given else json.loads(Path(word).read_bytes())
            found |= {key: float(number) for key, number in content.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f'metrics are NAME=NUMBER or a JSON file of numbers, got {word!r}: {error}'
            ) from error
    return found


def metrics_of(checkpoint: Path) -> dict[str, float]:
    """The metrics of the validation just after a checkpoint, by the logs of its work dir.

    The checkpoint itself does not have them: it is written before its validation. A checkpoint that
    a tool wrote, such as iter_8.recalibrated.pth, has no metrics. Logs name a validation by
    iteration or by epoch, as the checkpoint is named; the two are told apart, since an epoch's
    number may also be that of an iteration.
    """
    named = re.search(r'(iter|epoch)_(\d+)$', checkpoint.stem)
    if not named:
        return {}
    found: dict[int, dict[str, float]] = {}
    for log in sorted(checkpoint.parent.glob('*/vis_data/scalars.json')):
        same_kind = True
        for _, record in read_lines(log):
            if 'loss' in record:
                same_kind = ('epoch' in record) == (named[1] == 'epoch')
            elif same_kind and 'step' in record:
                step = record.pop('step')
                found[step] = {k: v for k, v in record.items() if 'time' not in k}
    return found.get(int(named[2]), {})


def _config_of(meta: Mapping[str, Any], checkpoint: Path) -> Config:
    if not isinstance(meta.get('cfg'), str):
        raise ValueError(f'{checkpoint} holds no config; give the one it was trained with')
    return parse_config(meta['cfg'])


def _name(cfg: Config, checkpoint: Path) -> str:
    """Name of the published network: the config's, else that of the work dir."""
    stem = Path(cfg.filename).stem if cfg.filename else checkpoint.resolve().parent.name
    return re.sub(r'[^\w.]+', '-', stem, flags=re.ASCII).strip('-.') or 'model'
