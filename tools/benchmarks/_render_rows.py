"""The rows that docs/benchmarks.md shows: the tools that write them, their order, the paper's."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssn_mm.timing.rows import Timings, has_neighbour, read_timings

Row = dict[str, Any]
LAYER, STEP, SPARSESTMAX = 'bench_switch_norm', 'bench_train_step', 'bench_sparsestmax'
STAGES, INFERENCE, FORMS = 'bench_stages', 'bench_inference', 'bench_onnx_norms'
TITLES = {
    LAYER: 'One layer: forward and backward pass',
    STEP: 'One training step of a network',
    INFERENCE: 'Deployed networks: inference',
    FORMS: 'Forms of a norm in ONNX',
    SPARSESTMAX: "SparsestMax of a network's ratios",
    STAGES: 'The passes over a map',
}
# table 3 of the paper: images/s, batches of 32, GTX 1080
PAPER = {
    model: dict(zip(('BN', 'IN', 'LN', 'GN', 'SN', 'SSN figure 5'), speeds, strict=True))
    for model, speeds in {
        'resnet50': (259.8, 186.2, 184.5, 183.1, 183.5, 216.3),
        'resnet101': (157.5, 116.8, 115.1, 113.3, 114.0, 133.7),
    }.items()
}


def by_device(measured: Sequence[Timings]) -> dict[str, list[Timings]]:
    """Timings by device and threads, in the order of the page."""
    found: dict[str, list[Timings]] = {}
    order = lambda timings: (list(TITLES).index(timings.tool), has_neighbour(timings))  # noqa: E731
    for timings in sorted(measured, key=order):
        name = timings.environment['device']
        if not timings.environment['cuda']:
            name += f', threads: {timings.environment["threads"]}'
        found.setdefault(name, []).append(timings)
    return found


def competitors(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row['competitor'] for row in rows))


def read_all(folder: Path) -> tuple[list[Timings], str]:
    """All timings of a folder, and the digest of their files."""
    files = sorted(folder.glob('*.jsonl'))
    measured = [read_timings(file) for file in files]
    if not measured:
        raise FileNotFoundError(
            f'no rows (*.jsonl) in {folder}; run the other tools of tools/benchmarks'
        )
    for file, timings in zip(files, measured, strict=True):
        if timings.tool not in TITLES:
            raise ValueError(f'{file} is of {timings.tool!r}; expected one of {", ".join(TITLES)}')
        if (base := timings.settings['baselines'][0]) not in competitors(timings.rows):
            raise ValueError(f'{file} lacks {base}, which all is relative to; measure with it')
    return measured, hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()
