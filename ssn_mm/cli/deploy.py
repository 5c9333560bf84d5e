"""What tools/deploy.py does."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import _load_checkpoint_to_model
from torch import Tensor, nn

from ..config_files import files_of
from ..datasets.nested import type_name
from ..datasets.pipelines import steps_of_tests
from ..deploy.export import check_outputs, export_onnx, export_program
from ..deploy.fold import fold
from ..deploy.freeze import freeze
from ..deploy.frozen import save_frozen
from ..deploy.networks import (
    TensorMode,
    build_network,
    check_program,
    input_channels,
    network_config,
    takes_clips,
    task_of,
)
from ..deploy.onnx_program import OnnxProgram, require_onnx
from ..deploy.undecided import how_much, undecided_rows
from ..deploy.verify import Program, verify_outputs
from ..files import check_writes
from ..layers import ssn_layers
from ..timing.rounds import Competitor, interleave
from ..timing.rows import table
from ..weights.files import check_checkpoint, read_checkpoint


def deploy(
    cfg: Config,
    checkpoint: str,
    out: Path,
    shape: Sequence[int] | None = None,
    onnx: Path | None = None,
    verify: int = 0,
    force: bool = False,
    seconds: float = 5.0,
) -> nn.Module:
    """Freezes and folds a trained network, exports it and prints what became of it.

    Writes the frozen checkpoint (``<out>.frozen.pth``), the program and, if asked for, ONNX, each
    as a whole or not at all.

    Args:
        cfg: The config it was trained with.
        checkpoint: Its weights; every SSN has chosen.
        out: Program to write, .pt2.
        shape: Height and width of a typical input in pixels, before them the frames of a video's
            clip; else the size of the training.
        onnx: ONNX file to write.
        verify: How many of the config's test samples the deployed networks are compared on;
            photographs where its data is not there.
        force: Takes the largest ratios of an SSN that has not chosen.
        seconds: How long the networks are timed.

    Returns:
        The frozen and folded network.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ImportError: ``onnx`` without its packages.
        OSError: A file cannot be written.
        ValueError: A file to write is the checkpoint, the config or another of them; no shape is
            known, or it has too few or too many numbers; the network is no function of pictures or
            clips alone; an SSN has not chosen; or the results differ, and then nothing more is
            written.
    """
    check_checkpoint(checkpoint)
    check_writes([out])
    files = {'trained': Path(checkpoint), 'frozen': out.with_suffix('.frozen.pth')}
    written = [out, files['frozen'], *filter(None, [onnx])]
    check_writes(written, [checkpoint, *files_of(cfg)])
    if onnx:
        require_onnx()  # told now, not after minutes
    task = task_of(cfg)
    if (network := network_config(cfg)) is not cfg:
        print(f'Deployed is the network inside {type_name(cfg.model)}, which sees one view.\n')
        cfg = network
    model = build_network(cfg)
    if task == 'action' and model.test_cfg:
        model.test_cfg.pop('max_testing_views', None)  # splits batches, changes no result
    shape = _checked(shape or _input_size(cfg, model), model)
    stored = read_checkpoint(checkpoint)
    try:
        _load_checkpoint_to_model(model, stored, strict=True)
    except RuntimeError as error:
        raise ValueError(f'{checkpoint} is of another network: {error}') from error
    dataset_meta = (stored.get('meta') or {}).get('dataset_meta')
    leading = _leading(cfg, model, task)
    inputs = torch.randn(2, *leading, input_channels(model), *shape)
    with torch.no_grad():
        check_program(model, inputs)  # its layers see the rank of their maps
        undecided = undecided_rows(model, cfg, checkpoint, stored.get('meta') or {})
        if undecided and not force:
            raise ValueError(undecided)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # a line a layer that is forced: the table has it
            frozen = freeze(copy.deepcopy(model), force)
        layers = {name: frozen.get_submodule(name) for name, _ in ssn_layers(model)}
        if undecided:
            print(f'warning: {undecided}{how_much(model, frozen, inputs)}\n')
        trained = TensorMode(frozen if undecided else model)
        folded = copy.deepcopy(frozen)
        fold(TensorMode(folded).eval(), inputs)
        print(_became(model, layers, folded))
        networks: dict[str, Program] = dict(trained=trained, frozen=TensorMode(frozen))
        networks['folded'] = TensorMode(folded)
        for name in ('frozen', 'folded'):
            check_outputs(networks[name], trained, inputs, f'the {name} network')
        save_frozen(frozen, layers, files['frozen'], dataset_meta)
        export_program(folded, inputs, out)
        files['program'], networks['program'] = out, torch.export.load(str(out)).module()
        if onnx:
            classes = list((dataset_meta or {}).get('classes') or []) or None
            export_onnx(folded, inputs, onnx, dict(task=task, classes=classes))
            files['onnx'], networks['onnx'] = onnx, OnnxProgram(onnx)
        if verify:
            print(verify_outputs(cfg, model, networks, inputs.shape[1:], verify))
        one = inputs[:1, :1] if takes_clips(model) else inputs[:1]
        print(_speed(networks, files, one, seconds))
    print(
        f'Run it with PyTorch alone: torch.export.load({str(out)!r}).module()(images); without '
        'ssn_mm but with the config: docs/deploy.md'
    )
    return folded


def _became(model: nn.Module, layers: dict[str, nn.Module], folded: nn.Module) -> str:
    """A line an SSN: what it chose and what it is now."""
    lines = []
    for name, ssn in ssn_layers(model):
        chosen = [
            own or f'{ssn.normalizers[row.argmax()]} (forced)'
            for own, row in zip(ssn.selected, ssn.ratios(), strict=True)
        ]
        now, plain = folded.get_submodule(name), type(layers[name]).__name__
        if isinstance(now, nn.Identity):
            plain += ', folded into the layer before it'
        elif getattr(now, 'inplace', False):
            plain += ', in place'
        lines.append([name, *chosen, plain])
    gone = sum(isinstance(folded.get_submodule(name), nn.Identity) for name in layers)
    return (
        table(['layer', 'mean', 'variance', 'became'], lines)
        + f'\n\n{len(lines)} SSN layers, {gone} of them folded away.\n'
    )


def _speed(
    networks: dict[str, Program], files: dict[str, Path], inputs: Tensor, seconds: float
) -> str:
    """Size of each file, and time of each network side by side."""
    competitors = {
        name: Competitor({'forward': partial(network, inputs)})
        for name, network in networks.items()
    }
    times = {name: t['total'] for name, t in interleave(competitors, seconds=seconds).items()}
    lines = []
    for name, own in times.items():
        file = files.get(name)
        size = f'{file.stat().st_size / 1e6:.1f}' if file else ''
        speed = np.median(times['trained'] / own)
        lines.append(
            [name, file or 'in memory', size, f'{np.median(own) * 1e3:.1f}', f'{speed:.2f}']
        )
    head = ['network', 'file', 'MB', 'ms', 'speed / trained']
    return f'One input {tuple(inputs.shape)}, side by side:\n\n{table(head, lines)}\n'


def _checked(shape: Sequence[int] | None, model: nn.Module) -> Sequence[int]:
    wanted = 'FRAMES HEIGHT WIDTH' if takes_clips(model) else 'HEIGHT WIDTH'
    if shape is None:
        raise ValueError(f'the config tells no input size; give --shape {wanted}')
    if len(shape) != len(wanted.split()):
        raise ValueError(f'{type(model).__name__} takes --shape {wanted}, got {tuple(shape)}')
    return shape


def _leading(cfg: Config, model: nn.Module, task: str) -> list[int]:
    """Dimensions between batch and channels: clips of a video, or segments of one."""
    if task != 'action':
        return []
    if takes_clips(model):
        return [2]
    sampler = _sampler(steps_of_tests(cfg))
    return [max(2, sampler.get('clip_len', 1) * sampler.get('num_clips', 8))]


def _sampler(steps: Mapping[str, Mapping]) -> Mapping:
    """The step that chooses frames of a video."""
    return next((step for name, step in steps.items() if 'Sample' in name), {})


def _input_size(cfg: Config, model: nn.Module) -> tuple[int, ...] | None:
    """Height and width of what the network sees, of a video the frames too, if the config tells."""
    steps = steps_of_tests(cfg)
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    size = preprocessor.get('size')  # segmentation pads to it
    size = size or (cfg.model.get('test_cfg') or {}).get('crop_size') or cfg.get('crop_size')
    crops = (step.get('crop_size') for name, step in steps.items() if name.endswith('Crop'))
    size = size or next((crop for crop in crops if crop), None)
    frames = [_sampler(steps).get('clip_len')] if takes_clips(model) else []
    if size is None or None in frames:
        return None
    return (*frames, *((size, size) if isinstance(size, int) else size))
