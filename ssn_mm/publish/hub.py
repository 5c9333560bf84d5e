"""Networks as folders in the form of the Hugging Face Hub: pip install 'ssn-mm[hub]'."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import nn

from ..commands import pip_install
from ..config_files import files_of
from ..files import check_replaceable, write_folder
from ..weights.content import load_strictly, state_and_meta
from ..weights.files import check_checkpoint, read_weights
from ..weights.safetensors import load_from_safetensors
from .card import Network, render_card
from .configs import build_network, plain_config, read_config
from .publish import kept_meta, weights_file

WEIGHTS, CONFIG, CARD = 'model.safetensors', 'config.json', 'README.md'


def save_pretrained(
    source: nn.Module | str | Path,
    cfg: Config,
    folder: str | Path,
    meta: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    force: bool = False,
) -> Path:
    """Writes a folder that :func:`from_pretrained` reads; it is complete or not there.

    In it are model.safetensors, config.json (the whole config as plain data) and README.md, the
    model card. Nothing is sent anywhere.

    Args:
        source: A network, or a checkpoint; of a training with EMAHook its averaged weights.
        cfg: The config that the network was built from.
        folder: The folder to make.
        meta: ``dataset_meta`` (names of the classes), ``epoch``, ``iter``; the checkpoint's if
            None.
        metrics: What the network reached, by name.
        force: Whether to replace the folder if it exists.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ImportError: safetensors is not installed.
        OSError: The folder cannot be written.
        ValueError: The folder exists, or with ``force`` holds the checkpoint or the config; or the
            weights are of another network.
    """
    folder = Path(folder)
    paths = [] if isinstance(source, nn.Module) else [source]
    check_replaceable(folder, force, [*paths, *files_of(cfg)])
    if isinstance(source, nn.Module):
        state: Mapping[str, Any] = source.state_dict()
        found: Mapping[str, Any] = {}
    else:
        state, found = read_weights(source)
    model = build_network(cfg, trust=True)  # the user's own
    load_strictly(model, state, 'what is to be saved')
    kept = kept_meta(found if meta is None else meta)
    network = Network(folder.name, WEIGHTS, cfg, model, kept, metrics or {})
    files = {
        WEIGHTS: weights_file(state, kept, 'safetensors'),
        CONFIG: json.dumps(plain_config(cfg), indent=1).encode(),
        CARD: render_card(network).encode(),
    }
    write_folder(folder, files)
    return folder


def from_pretrained(
    source: str | Path, revision: str | None = None, trust: bool = False
) -> nn.Module:
    """A network from a folder, or from the Hub.

    Its config is untrusted and read as data, so that none of its code runs: classes that the MM
    libraries and this package register are built, and no others.

    Args:
        source: A folder, which is taken where there is one, without a look at the network; else
            the Hub's 'owner/name', downloaded by huggingface_hub.
        revision: A branch, tag or commit of the Hub's repository.
        trust: Whether to import what the config's ``custom_imports`` names besides this package,
            and to build what its types name by path.

    Returns:
        The network, in evaluation; ``dataset_meta`` is its attribute where that was kept.

    Raises:
        FileNotFoundError: The folder lacks a file.
        ImportError: A package of the extra is missing.
        ValueError: ``source`` is neither; the config asks for what is not trusted; or the
            weights are damaged or of another network.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _download(str(source), revision)
    weights = _weights(folder)
    check_checkpoint(weights)
    model = build_network(read_config(folder / CONFIG), trust)
    if weights.suffix == '.safetensors':
        stored = load_from_safetensors(str(weights))
    else:  # as weights only, whatever the environment says: it is untrusted
        stored = torch.load(weights, 'cpu', weights_only=True)
    state, meta = state_and_meta(stored, weights)
    load_strictly(model, state, weights)
    model.dataset_meta = meta.get('dataset_meta')  # type: ignore[assignment]
    return model


def push_to_hub(folder: str | Path, repo_id: str, private: bool = True, **options: Any) -> str:
    """Uploads what :func:`save_pretrained` wrote; the only function that sends anything.

    Args:
        folder: The folder.
        repo_id: 'owner/name'; made if it does not exist.
        private: Whether a repository that is made is private.
        **options: For ``huggingface_hub.HfApi.upload_folder``, such as ``revision``.

    Returns:
        The address of the commit.

    Raises:
        FileNotFoundError: The folder lacks a file.
        ImportError: huggingface_hub is not installed.
    """
    hub = _hub()
    for name in (CONFIG, CARD):
        if not (Path(folder) / name).is_file():
            raise FileNotFoundError(f'{folder} has no {name}; save_pretrained writes it')
    _weights(Path(folder))
    hub.create_repo(repo_id, private=private, exist_ok=True)
    return str(hub.upload_folder(folder_path=str(folder), repo_id=repo_id, **options))


def _weights(folder: Path) -> Path:
    """The one file of weights that a folder must have."""
    found = [file for kind in ('safetensors', 'pth') for file in folder.glob(f'*.{kind}')]
    if len(found) != 1:
        raise FileNotFoundError(
            f'{folder} has {len(found)} files of weights (.safetensors, .pth), expected one'
        )
    return found[0]


def _download(source: str, revision: str | None) -> Path:
    hub = _hub()
    wanted = [CONFIG, CARD, '*.safetensors', '*.pth']
    try:
        return Path(hub.snapshot_download(source, revision=revision, allow_patterns=wanted))
    except hub.errors.HFValidationError as error:
        raise ValueError(f"{source!r} is no folder here, and no 'owner/name' on the Hub") from error
    except (hub.errors.LocalEntryNotFoundError, hub.errors.RepositoryNotFoundError) as error:
        raise ValueError(
            f'{source!r} is no folder here, and could not be downloaded from the Hub'
        ) from error


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        install = pip_install('ssn-mm[hub]')
        raise ImportError(f'the Hub needs huggingface_hub: {install}') from error
    return huggingface_hub
