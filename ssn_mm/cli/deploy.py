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
from ..deploy.became import what_layers_became
from ..deploy.bn_savings import bn_ratio_in_onnxruntime, bn_savings
from ..deploy.compare import check_outputs
from ..deploy.evaluate import evaluate_networks, evaluation_table
from ..deploy.example_inputs import example_inputs
from ..deploy.export import before_int8, onnx_files, openvino_files, program_files
from ..deploy.fold import fold
from ..deploy.freeze import freeze
from ..deploy.frozen import save_frozen
from ..deploy.int8_losses import losses_by_layer
from ..deploy.int8_program import require_torchao
from ..deploy.networks import build_network, check_program, network_config, takes_clips, task_of
from ..deploy.onnx_program import OnnxProgram, require_onnx
from ..deploy.openvino_program import (
    OpenVinoProgram,
    computes_in,
    files_of_openvino,
    require_openvino,
)
from ..deploy.precision import FileNetwork, dtype_of
from ..deploy.preprocessing import on_preprocessed, preprocessing_of
from ..deploy.samples import calibration_samples
from ..deploy.torch_program import TorchProgram
from ..deploy.unselected import forced_change, unselected_rows
from ..deploy.verify import Program, verify_outputs
from ..deploy.verify_tiles import Window, hint_at_tiles, verify_tiles
from ..files import check_writes, write_together
from ..layers import layers_that_measure, selecting_norms
from ..timing.rounds import Competitor, interleave
from ..timing.tables import table
from ..weights.content import load_strictly
from ..weights.files import check_checkpoint, read_weights


@dataclass(frozen=True)
class Wanted:
    """What is exported beside the program of torch.export, and how.

    Attributes:
        onnx: ONNX file to write.
        openvino: OpenVINO's .xml file to write, and the .bin beside it.
        precision: 'float32', 'float16', 'bfloat16' or 'int8', in which the files compute.
        preprocess: Whether the files take pixels from 0 to 255, in the order of channels that the
            config's loading step gives, and do what the model's data preprocessor does.
        calibrate: How many training samples int8 is calibrated with.
        prefer: 'BN' for a report of what batch norm would save in the place of layers that measure.
    """

    onnx: Path | None = None
    openvino: Path | None = None
    precision: str = 'float32'
    preprocess: bool = False
    calibrate: int = 64
    prefer: str | None = None


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

    def evaluate(self) -> str:
        """A table of all networks' metrics on the whole test data, see :mod:`.evaluate`."""
        return evaluation_table(evaluate_networks(self.cfg, self.model, self.networks))

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
            parts = files_of_openvino(file) if name == 'openvino' and file else [file]
            size = f'{sum(p.stat().st_size for p in parts if p) / 1e6:.1f}' if file else ''
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
    force: bool = False,
    wanted: Wanted = Wanted(),
) -> Deployed:
    """Freezes and folds a trained network, exports it and prints what became of it.

    Writes the frozen checkpoint (``<out>.frozen.pth``), in float32, and then all programs or none.

    Args:
        cfg: The config that the network was trained with.
        checkpoint: The file of its weights; every SSN has selected.
        out: Program to write, .pt2.
        shape: Height and width of a typical input in pixels, before them the frames of a video's
            clip; else the size of the training.
        force: Whether an SSN that has not selected yet takes its largest ratios.
        wanted: Other files to write, and what all of them are like.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ImportError: Packages for ONNX or OpenVINO are missing.
        OSError: A file cannot be written.
        ValueError: A file to write is the checkpoint, the config or another of them; no shape is
            known, or it has too few or too many numbers; the network is no function of pictures or
            clips alone; an SSN has not selected yet; a runtime lacks the precision; the data
            preprocessor does what no file can; int8 has no samples; or the results differ, and
            then nothing more is written.
    """
    files = _checked_files(cfg, checkpoint, out, wanted)
    if (inner := network_config(cfg)) is not cfg:
        print(f'Deployed is the network inside {type_name(cfg.model)}, which sees one view.\n')
        cfg = inner
    model, inputs, meta = trained_network(cfg, checkpoint, shape)
    check_program(model, inputs)  # so that its layers see the rank of their maps
    preprocessing = preprocessing_of(model, inputs) if wanted.preprocess else None
    samples = []
    if wanted.precision == 'int8':  # which data that is missing ends before anything is written
        samples = calibration_samples(cfg, model, wanted.calibrate)
    unselected = unselected_rows(model, cfg, checkpoint, meta)
    frozen = _frozen(model, inputs, unselected, force)
    layers = {name: frozen.get_submodule(name) for name, _ in selecting_norms(model)}
    folded = copy.deepcopy(frozen)
    fold(TensorMode(folded).eval(), inputs)
    print(what_layers_became(model, layers, folded))
    trained = TensorMode(frozen if unselected else model)
    networks: dict[str, Program] = dict(trained=trained, frozen=TensorMode(frozen))
    networks['folded'] = TensorMode(folded)
    for name in ('frozen', 'folded'):
        check_outputs(networks[name], trained, inputs, f'the {name} network')
    about = meta.get('dataset_meta') or {}
    save_frozen(frozen, layers, files['frozen'], about or None)
    stored: dict[str, Any] = dict(task=task_of(cfg), measures=layers_that_measure(frozen))
    stored['classes'] = list(about.get('classes') or []) or None
    pixels = [preprocessing.inverse(x) if preprocessing else x for x in (inputs, *samples)]
    network = FileNetwork(folded, wanted.precision, preprocessing, pixels[1:])
    _write_programs(network, pixels[0], files, stored)
    if samples and (wanted.onnx or wanted.openvino):
        print(losses_by_layer(before_int8(network, pixels[0], {}), pixels[1:]))
    if wanted.prefer:
        print(bn_savings(frozen, inputs))
        if wanted.onnx:
            ratio = bn_ratio_in_onnxruntime(frozen, network, pixels[0])
            print(f'In onnxruntime, {wanted.precision}, it would take {ratio:.2f} of its time.\n')
    for name, program in _PROGRAMS.items():
        if name in files:
            networks[name] = on_preprocessed(program(files[name]))
    return Deployed(cfg, model, inputs, networks, files)


_EXPORTS = dict(program=program_files, onnx=onnx_files, openvino=openvino_files)
_PROGRAMS = dict(program=TorchProgram, onnx=OnnxProgram, openvino=OpenVinoProgram)


def _write_programs(
    network: FileNetwork, inputs: Tensor, files: Mapping[str, Path], meta: dict[str, Any]
) -> None:
    """Exports a network in every form that has a file, and writes all of them or none."""
    contents: dict[Path, bytes] = {}
    for name, export in _EXPORTS.items():
        if name in files:
            contents |= export(network, inputs, files[name], meta)[0]
    write_together(contents)


def _checked_files(cfg: Config, checkpoint: str, out: Path, wanted: Wanted) -> dict[str, Path]:
    """The file of each network, by its name, after a check that it can be read or written."""
    dtype_of(wanted.precision)
    check_checkpoint(checkpoint)
    check_writes([out])
    files = {'frozen': out.with_suffix('.frozen.pth'), 'program': out}
    if wanted.onnx:
        files['onnx'] = wanted.onnx
    beside: list[Path] = []
    if wanted.openvino:
        if wanted.openvino.suffix != '.xml':
            raise ValueError(
                f'--openvino writes an .xml file and a .bin beside it, got {wanted.openvino}'
            )
        files['openvino'], *beside = files_of_openvino(wanted.openvino)
    check_writes([*files.values(), *beside], [checkpoint, *files_of(cfg)])
    if wanted.precision == 'int8':  # raise now, not after minutes
        require_torchao()
    if wanted.onnx or wanted.openvino:
        require_onnx(wanted.precision if wanted.onnx else 'float32')
    if wanted.openvino:
        require_openvino(wanted.precision)
        if (found := computes_in(wanted.precision)) != wanted.precision:
            print(
                f'OpenVINO has no {wanted.precision} on this processor: it keeps the weights in it '
                f'and computes in {found}.\n'
            )
    return files | {'trained': Path(checkpoint)}


def trained_network(
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
