"""What tools/deploy.py does."""

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from torch import Tensor, nn

from ..config_files import files_of
from ..datasets.nested import type_name
from ..deploy import TensorMode
from ..deploy.example_inputs import example_inputs
from ..deploy.export import check_outputs, export_onnx, export_openvino, export_program
from ..deploy.fold import fold
from ..deploy.freeze import freeze
from ..deploy.frozen import save_frozen
from ..deploy.networks import build_network, check_program, network_config, takes_clips, task_of
from ..deploy.onnx_program import OnnxProgram, require_onnx
from ..deploy.openvino_program import OpenVinoProgram, require_openvino
from ..deploy.unselected import forced_change, unselected_rows
from ..deploy.verify import Program, verify_outputs
from ..deploy.verify_tiles import Window, hint_at_tiles, verify_tiles
from ..files import check_writes
from ..layers import layers_that_measure, selecting_norms
from ..timing.rounds import Competitor, interleave
from ..timing.tables import table
from ..weights.content import load_strictly
from ..weights.files import check_checkpoint, read_weights


@dataclass(frozen=True)
class Deployed:
    """A trained network, and the networks that were made of it.

    Attributes:
        cfg: The config of the network.
        model: The trained network, as OpenMMLab builds it.
        inputs: Noise of the shape that the networks take, (2, ...).
        networks: Each as a function of preprocessed inputs: 'trained', 'frozen', 'folded',
            'program' and, if they were asked for, 'onnx' and 'openvino'.
        files: The file of each of these networks that has one.
    """

    cfg: Config
    model: Any
    inputs: Tensor
    networks: dict[str, Program]
    files: dict[str, Path]

    @torch.no_grad()
    def verify(self, count: int) -> str:
        """A table that compares outputs and labels of all networks with the trained one's.

        Args:
            count: Number of the config's test samples; photographs where its data is not there.

        Raises:
            ValueError: The outputs of a network differ.
        """
        return verify_outputs(self.cfg, self.model, self.networks, self.inputs.shape[1:], count)

    @torch.no_grad()
    def verify_tiles(self, count: int, window: Window | None) -> str:
        """Tables that compare sliding windows with whole pictures, see :func:`.verify_tiles`.

        Args:
            count: Number of samples.
            window: Size and stride of the windows, from :func:`.window_of`; None to say no more
                than whether they would change labels.
        """
        if window:
            return verify_tiles(self.cfg, self.model, self.networks, count, window)
        is_segmentor = task_of(self.cfg) == 'segmentation'
        return hint_at_tiles(self.networks['frozen']) if is_segmentor else ''

    @torch.no_grad()
    def speed(self, seconds: float = 5.0) -> str:
        """A table of the size of each file and the time of each network on one input.

        Args:
            seconds: How long the networks are timed, side by side.
        """
        one = self.inputs[:1, :1] if takes_clips(self.model) else self.inputs[:1]
        competitors = {
            name: Competitor({'forward': partial(network, one)})
            for name, network in self.networks.items()
        }
        times = {name: t['total'] for name, t in interleave(competitors, seconds=seconds).items()}
        lines = []
        for name, own in times.items():
            file = self.files.get(name)
            size = f'{file.stat().st_size / 1e6:.1f}' if file else ''
            speed = np.median(times['trained'] / own)
            milliseconds = f'{np.median(own) * 1e3:.1f}'
            lines.append([name, file or 'in memory', size, milliseconds, f'{speed:.2f}'])
        head = ['network', 'file', 'MB', 'ms', 'speed / trained']
        return f'One input {tuple(one.shape)}, side by side:\n\n{table(head, lines)}\n'


@torch.no_grad()
def deploy(
    cfg: Config,
    checkpoint: str,
    out: Path,
    shape: Sequence[int] | None = None,
    onnx: Path | None = None,
    force: bool = False,
    openvino: Path | None = None,
) -> Deployed:
    """Freezes and folds a trained network, exports it and prints what became of it.

    Writes the frozen checkpoint (``<out>.frozen.pth``), the program and, if asked for, ONNX, each
    as a whole or not at all.

    Args:
        cfg: The config that the network was trained with.
        checkpoint: The file of its weights; every SSN has selected.
        out: Program to write, .pt2.
        shape: Height and width of a typical input in pixels, before them the frames of a video's
            clip; else the size of the training.
        onnx: ONNX file to write.
        force: Whether an SSN that has not selected yet takes its largest ratios.
        openvino: OpenVINO's .xml file to write, and the .bin beside it.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ImportError: ``onnx`` or ``openvino`` without its packages.
        OSError: A file cannot be written.
        ValueError: A file to write is the checkpoint, the config or another of them; no shape is
            known, or it has too few or too many numbers; the network is no function of pictures or
            clips alone; an SSN has not selected yet; or the results differ, and then nothing more
            is written.
    """
    files = _checked_files(cfg, checkpoint, out, onnx, openvino)
    if (network := network_config(cfg)) is not cfg:
        print(f'Deployed is the network inside {type_name(cfg.model)}, which sees one view.\n')
        cfg = network
    model, inputs, meta = _trained(cfg, checkpoint, shape)
    check_program(model, inputs)  # so that its layers see the rank of their maps
    unselected = unselected_rows(model, cfg, checkpoint, meta)
    frozen = _frozen(model, inputs, unselected, force)
    layers = {name: frozen.get_submodule(name) for name, _ in selecting_norms(model)}
    folded = copy.deepcopy(frozen)
    fold(TensorMode(folded).eval(), inputs)
    print(_became(model, layers, folded))
    trained = TensorMode(frozen if unselected else model)
    networks: dict[str, Program] = dict(trained=trained, frozen=TensorMode(frozen))
    networks['folded'] = TensorMode(folded)
    for name in ('frozen', 'folded'):
        check_outputs(networks[name], trained, inputs, f'the {name} network')
    about = meta.get('dataset_meta') or {}
    save_frozen(frozen, layers, files['frozen'], about or None)
    export_program(folded, inputs, out)
    networks['program'] = torch.export.load(str(out)).module()
    stored: dict[str, Any] = dict(task=task_of(cfg), measures=layers_that_measure(frozen))
    stored['classes'] = list(about.get('classes') or []) or None
    if onnx:
        export_onnx(folded, inputs, onnx, stored)
        networks['onnx'] = OnnxProgram(onnx)
    if openvino:
        export_openvino(folded, inputs, openvino, stored)
        networks['openvino'] = OpenVinoProgram(openvino)
    return Deployed(cfg, model, inputs, networks, files)


def _checked_files(
    cfg: Config, checkpoint: str, out: Path, onnx: Path | None, openvino: Path | None
) -> dict[str, Path]:
    """The file of each network, by its name, after a check that it can be read or written."""
    check_checkpoint(checkpoint)
    check_writes([out])
    files = {'frozen': out.with_suffix('.frozen.pth'), 'program': out}
    if onnx:
        files['onnx'] = onnx
    beside = []
    if openvino:
        if openvino.suffix != '.xml':
            raise ValueError(f'--openvino writes an .xml file and a .bin beside it, got {openvino}')
        files['openvino'], beside = openvino, [openvino.with_suffix('.bin')]
    check_writes([*files.values(), *beside], [checkpoint, *files_of(cfg)])
    if onnx or openvino:  # raise now, not after minutes
        require_onnx()
    if openvino:
        require_openvino()
    return files | {'trained': Path(checkpoint)}


def _trained(
    cfg: Config, checkpoint: str, shape: Sequence[int] | None
) -> tuple[Any, Tensor, Mapping[str, Any]]:
    """The trained network, noise of the shape that it takes, and the checkpoint's meta."""
    model = build_network(cfg)
    if task_of(cfg) == 'action' and model.test_cfg:
        model.test_cfg.pop('max_testing_views', None)  # splits batches, changes no result
    inputs = example_inputs(cfg, model, shape)
    state, meta = read_weights(checkpoint)
    load_strictly(model, state, checkpoint)
    return model, inputs, meta


def _frozen(model: nn.Module, inputs: Tensor, unselected: str, force: bool) -> nn.Module:
    """A frozen copy of a network.

    Args:
        model: The trained network.
        inputs: Preprocessed inputs that show how much forced selections change.
        unselected: What :func:`unselected_rows` says of the network.
        force: Whether rows that have not selected yet take their largest ratios.

    Raises:
        ValueError: There are such rows, and they are not to be forced.
    """
    if unselected and not force:
        raise ValueError(unselected)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # a line for each forced layer, which the table has, too
        frozen = freeze(copy.deepcopy(model), force)
    if unselected:
        print(f'warning: {unselected}{forced_change(model, frozen, inputs)}\n')
    return frozen


def _became(model: nn.Module, layers: dict[str, nn.Module], folded: nn.Module) -> str:
    """A table with a line for each SSN: what it selected and what it is now."""
    lines = []
    for name, ssn in selecting_norms(model):
        selected = [
            own or f'{ssn.normalizers[row.argmax()]} (forced)'
            for own, row in zip(ssn.selected, ssn.ratios(), strict=True)
        ]
        now, plain = folded.get_submodule(name), type(layers[name]).__name__
        if isinstance(now, nn.Identity):
            plain += ', folded into the layer before it'
        elif getattr(now, 'inplace', False):
            plain += ', in place'
        lines.append([name, *selected, plain])
    gone = sum(isinstance(folded.get_submodule(name), nn.Identity) for name in layers)
    return (
        table(['layer', 'mean', 'variance', 'became'], lines)
        + f'\n\n{len(lines)} SSN layers, {gone} of them folded away.\n'
    )
