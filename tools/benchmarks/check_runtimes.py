"""Check the demos in every runtime and precision: python tools/benchmarks/check_runtimes.py"""

import argparse
import copy
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _cases import check_positive
from _render_runtimes import ROWS, TOOL, renew_page
from mmengine.config import Config
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch._inductor import config as inductor_config

from ssn_mm.cli.config import load_config
from ssn_mm.cli.deploy import trained_network
from ssn_mm.cli.tool import run_tool
from ssn_mm.commands import in_a_line
from ssn_mm.datasets.pipelines import dataset_of_tests
from ssn_mm.deploy import TOLERANCES, OnnxProgram, OpenVinoProgram, TensorMode, TorchProgram
from ssn_mm.deploy.evaluate import Evaluation, evaluate_networks
from ssn_mm.deploy.export import onnx_files, openvino_files, program_files
from ssn_mm.deploy.fold import fold
from ssn_mm.deploy.freeze import freeze
from ssn_mm.deploy.precision import FileNetwork
from ssn_mm.deploy.samples import build_dataset, calibration_samples, read_samples
from ssn_mm.timing.rounds import Competitor, measure
from ssn_mm.timing.rows import Timings, environment, file_name, write_timings

Program = Callable[[Tensor], Tensor]
ROOT = Path(__file__).resolve().parents[2]
DEMOS = ('resnet', 'deeplab', 'i3d')
# the norm in the name of a demo's config, and options: SSN as it learned, and SSN that has BN only
SELECTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    'learned': ('ssn', {}),
    'all BN': ('bn', {'model.convert_norms.to': 'SSN', 'model.convert_norms.start': 'kept'}),
}


def _exported(network: FileNetwork, inputs: Tensor) -> TorchProgram:
    return TorchProgram(_content(program_files(network, inputs, Path('network.pt2'))))


def _compiled(network: FileNetwork, inputs: Tensor) -> Program:
    """Kernels that torch.compile makes, with weights as constants; in int8 of the exported program.

    Raises:
        ValueError: It cannot follow the program.
    """
    inductor_config.freezing = True  # an option of this one call leaves the weights as inputs
    source = _exported(network, inputs)._module if network.precision == 'int8' else network
    program = torch.no_grad()(torch.compile(source, dynamic=False))
    try:
        program(inputs)
    except Exception as error:  # whatever the compiler raises
        raise ValueError(f'torch.compile: {in_a_line(error)[:200]}') from error
    return program


def _onnx(network: FileNetwork, inputs: Tensor) -> Program:
    return OnnxProgram(_content(onnx_files(network, inputs, Path('network.onnx'))))


def _openvino(network: FileNetwork, inputs: Tensor) -> Program:
    files, _ = openvino_files(network, inputs, Path('network.xml'))
    return OpenVinoProgram(tuple(files.values()))


def _content(exported: tuple[Mapping[Path, bytes], float]) -> bytes:
    (content,) = exported[0].values()
    return content


# how a folded network runs in each runtime: another runtime is a line here
RUNTIMES: dict[str, Callable[[FileNetwork, Tensor], Program]] = {
    'PyTorch': lambda network, _: network,
    'torch.export': _exported,
    'torch.compile': _compiled,
    'onnxruntime': _onnx,
    'OpenVINO': _openvino,
}
# what is left out, and why: on a CPU without float16 PyTorch emulates it, 50 times slower
LACKING = {
    ('PyTorch', 'int8'): 'needs an export',
    ('PyTorch', 'float16'): 'not measured',
    ('torch.export', 'float16'): 'not measured',
    ('torch.compile', 'float16'): 'not measured',
    ('torch.compile', 'bfloat16'): 'not measured',
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train the demos, each with SSN as it learns and with SSN that is batch norm '
        'throughout, where their checkpoints are not there yet; deploy each in every runtime and '
        'precision; and compare metrics and labels on the whole validation set, and speed. Writes '
        f'rows to {ROWS.relative_to(ROOT)}, a file for each demo, and their table to '
        'docs/deploy.md.'
    )
    parser.add_argument('--demos', nargs='+', default=DEMOS, choices=DEMOS, help='default: all')
    parser.add_argument(
        '--runtimes', nargs='+', default=list(RUNTIMES), choices=RUNTIMES, help='default: all'
    )
    parser.add_argument(
        '--precisions', nargs='+', default=list(TOLERANCES), choices=TOLERANCES, help='default: all'
    )
    parser.add_argument(
        '--checkpoints',
        type=Path,
        default=Path('work_dirs/check_runtimes'),
        help='folder of DEMO_learned.pth and DEMO_all_BN.pth (default: work_dirs/check_runtimes)',
    )
    parser.add_argument('--calibrate', type=int, default=64, help='samples of int8 (default: 64)')
    parser.add_argument('--images', type=int, default=8, help='inputs of a batch (default: 8)')
    parser.add_argument('--rounds', type=int, default=15, help='of timing at least (default: 15)')
    parser.add_argument(
        '--render', action='store_true', help='measure nothing: renew the table of the page'
    )
    args = parser.parse_args()
    check_positive(parser, args, 'calibrate', 'images', 'rounds')
    return args


def demo_config(demo: str, selection: str) -> Config:
    norm, options = SELECTIONS[selection]
    return load_config(str(ROOT / f'configs/demo/{demo}_{norm}_digits.py'), options=dict(options))


def checkpoint(demo: str, selection: str, folder: Path) -> Path:
    """The file of a demo's weights, trained unless it is there."""
    file = folder / f'{demo}_{selection.replace(" ", "_")}.pth'
    if not file.is_file():
        norm, options = SELECTIONS[selection]
        work_dir = file.with_suffix('')
        command = [sys.executable, ROOT / 'tools/train.py']
        command += [ROOT / f'configs/demo/{demo}_{norm}_digits.py', '--work-dir', work_dir]
        if options:
            command += ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
        subprocess.run([str(part) for part in command], check=True)
        last = Path((work_dir / 'last_checkpoint').read_text('utf-8'))
        last.replace(file)
    return file


def deployed(
    cfg: Config, model: Any, inputs: Tensor, args: argparse.Namespace
) -> dict[str, Program | str]:
    """The trained network, and it in each runtime and precision; or why it does not run."""
    TensorMode(model)(inputs)  # so that its layers see the rank of their maps
    folded = freeze(copy.deepcopy(model))
    fold(TensorMode(folded).eval(), inputs)
    samples = calibration_samples(cfg, model, args.calibrate)
    found: dict[str, Program | str] = {'trained': TensorMode(model)}
    for runtime in args.runtimes:
        for precision in args.precisions:
            name, lacks = f'{runtime} {precision}', LACKING.get((runtime, precision))
            try:
                network = FileNetwork(folded, precision, calibration=samples)
                found[name] = lacks or RUNTIMES[runtime](network, inputs)
            except ValueError as error:  # of a runtime that lacks the precision
                found[name] = str(error)
    return found


@torch.no_grad()
def rows_of(demo: str, selection: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each runtime and precision: its metrics, labels and times."""
    cfg = demo_config(demo, selection)
    file = checkpoint(demo, selection, args.checkpoints)
    model, *_ = trained_network(cfg, str(file), None)
    dataset = build_dataset(dataset_of_tests(cfg))
    ((batch, _),) = read_samples(dataset, model, args.images, args.images)
    programs = deployed(cfg, model, batch, args)
    able = {name: program for name, program in programs.items() if not isinstance(program, str)}
    evaluated = evaluate_networks(cfg, model, able, args.images)
    competitors: dict[str, Competitor | str] = {
        name: why if isinstance(why, str) else Competitor({'forward': partial(why, batch)})
        for name, why in programs.items()
    }
    floats = [f'{runtime} float32' for runtime in args.runtimes]
    case = dict(demo=demo, selection=selection, images=args.images)
    rows = measure(
        case, competitors, ['trained', *floats], memory=False, rounds=args.rounds, warmup=3
    )
    nothing = Evaluation({})
    return [row | vars(evaluated.get(row['competitor'], nothing)) for row in rows]


def main() -> None:
    args = parse_args()
    warnings.simplefilter('ignore')
    for demo in track([] if args.render else args.demos, 'demos', console=Console(stderr=True)):
        settings = {key: str(value) for key, value in vars(args).items() if key != 'demos'}
        rows = [row for selection in SELECTIONS for row in rows_of(demo, selection, args)]
        timings = Timings(f'{TOOL}-{demo}', environment(), settings, rows)
        write_timings(ROWS / file_name(timings), timings)
    print(f'Written: {renew_page()}')


if __name__ == '__main__':
    run_tool(main)
