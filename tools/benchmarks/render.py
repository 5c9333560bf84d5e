"""Make docs/benchmarks.md and its picture from rows: python tools/benchmarks/render.py"""

import argparse
import hashlib
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image

from ssn_mm.cli.tool import run_tool
from ssn_mm.commands import command
from ssn_mm.files import check_writes, write_atomically
from ssn_mm.timing.rounds import TOTAL
from ssn_mm.timing.rows import (
    Run,
    case_table,
    grouped,
    mean_memory,
    mean_ratio,
    mean_table,
    read_run,
    show_time,
    table,
)

Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
COMMAND = 'python tools/benchmarks/render.py'
DIGEST = 'Data'  # key of the picture's text that says which rows it shows
LAYER, STEP, SPARSESTMAX = 'bench_switch_norm', 'bench_train_step', 'bench_sparsestmax'
STAGES, INFERENCE = 'bench_stages', 'bench_inference'
TITLES = {
    LAYER: 'One layer: forward and backward pass',
    STEP: 'One training step of a network',
    INFERENCE: 'Deployed networks: inference',
    SPARSESTMAX: "SparsestMax of a network's ratios",
    STAGES: 'The passes over a map',
}
PANELS = {LAYER: 'one layer', STEP: 'training step', INFERENCE: 'deployed network'}
# table 3 of the paper: images/s, batches of 32, GTX 1080
PAPER = {
    model: dict(zip(('BN', 'IN', 'LN', 'GN', 'SN', 'SSN figure 5'), speeds, strict=True))
    for model, speeds in {
        'resnet50': (259.8, 186.2, 184.5, 183.1, 183.5, 216.3),
        'resnet101': (157.5, 116.8, 115.1, 113.3, 114.0, 133.7),
    }.items()
}
# Okabe and Ito's colour-blind safe colours, each with a marker of its own
MARKS = (
    ('#0072B2', 'o'),
    ('#D55E00', 's'),
    ('#009E73', '^'),
    ('#CC79A7', 'D'),
    ('#E69F00', 'v'),
    ('#56B4E9', 'P'),
)
INTRODUCTION = f"""# Benchmarks

Made by `{COMMAND}` from the rows in `docs/benchmarks`, not by hand.
Each of the other commands writes one file of rows; `--help` explains what it measures:

```bash
python tools/benchmarks/bench_switch_norm.py --channels-last
python tools/benchmarks/bench_train_step.py
python tools/benchmarks/bench_inference.py
python tools/benchmarks/bench_sparsestmax.py
python tools/benchmarks/bench_stages.py --channels-last
{COMMAND}
```

- All competitors of a case run in one process, in turns, in an order shuffled for each round. Times
  are medians with 20 % and 80 % quantiles. Ratios are taken round by round; their median is shown.
- *BN* is `nn.BatchNorm`, *SyncBN* `nn.SyncBatchNorm` in a single process, *GN* `nn.GroupNorm(32)`,
  *IN* `nn.InstanceNorm(affine=True)`, *LN* `nn.GroupNorm(1)`; *published* is the paper's Eq. 1 as
  plain autograd, each normalizer measuring the map by itself.
- *SN* and *SSN competing* weigh three normalizers. *SSN chose BN* has selected batch norm for mean
  and variance. *SSN figure 5* has one-hot ratios too, mixed over the layers: half BN, a quarter
  IN, a quarter LN, for mean and variance independently; these shares are an assumption, as the
  paper's figure 5 has no numbers. A single layer has mean BN and variance LN. A name in brackets
  is the backend that was set; without it the best was taken.
- Deployed networks are frozen and folded, their choices as above: every batch norm is gone, other
  norms overwrite the convolution's output. SN cannot be frozen and runs on this package's kernels;
  *SN [cpu]* on PyTorch's operators alone, as all the others do. *[onnx]* is run by
  onnxruntime. The paper's numbers are its table 3.
- Memory is the peak of a run above what lay in memory before it: outputs, gradients, temporaries.
- The roofline is the time in which a plain copy would move the bytes that a layer must move: three
  passes over the map forward (x twice, y), five backward (x and dy twice, dx). Maps that fit into
  the cache can exceed 100 %.

![Time and memory relative to batch norm](benchmarks.png)
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Make docs/benchmarks.md and docs/benchmarks.png of the rows that the '
        'benchmarks wrote.'
    )
    docs = ROOT / 'docs'
    parser.add_argument(
        '--data',
        type=Path,
        default=docs / 'benchmarks',
        help='folder with rows, *.jsonl (default: docs/benchmarks)',
    )
    parser.add_argument('--out', type=Path, default=docs, help='folder to write to (default: docs)')
    parser.add_argument(
        '--check',
        action='store_true',
        help='write nothing; exit code 1 if the page or the picture is not of these rows',
    )
    return parser.parse_args()


def make_page(runs: Sequence[Run]) -> str:
    """The page: for each device its benchmarks, each with its environment and tables."""
    makers = {
        LAYER: layer_tables,
        STEP: step_tables,
        SPARSESTMAX: radius_tables,
        STAGES: step_tables,
        INFERENCE: inference_tables,
    }
    parts = [INTRODUCTION]
    for device, own in by_device(runs).items():
        parts.append(f'## {device}\n')
        for run in own:
            parts += [f'### {TITLES[run.tool]}\n', f'{describe_environment(run)}\n']
            parts += [f'{caption}:\n\n{lines}\n' for caption, lines in makers[run.tool](run)]
    return '\n'.join(parts)


def describe_environment(run: Run) -> str:
    """What the numbers depend on, in a line."""
    words = [f'{k} {v}' for k, v in run.environment.items() if v is not None and k != 'device']
    rounds = [row['rounds'] for row in run.rows if row['seconds']] or [0]
    smoke = '**A smoke run: its numbers mean nothing.** ' if run.settings['smoke'] else ''
    count = '-'.join(map(str, sorted({min(rounds), max(rounds)})))
    return f'{smoke}{", ".join(words)}; {count} rounds a case.'


def layer_tables(run: Run) -> Iterator[tuple[str, str]]:
    """Geometric means, then the time relative to the first baseline shape by shape."""
    base, unit = run.settings['baselines'][0], run.settings['unit']
    for name, rows in grouped(run.rows, run.settings['groups']).items():
        shapes = grouped(rows, ['shape'])
        yield (
            f'Geometric means over {len(shapes)} shapes, {name}',
            mean_table(rows, run.settings['baselines']),
        )
        names = competitors(rows)
        lines = []
        for shape, own in shapes.items():
            cells = {row['competitor']: row for row in own}
            time = show_time((cells[base]['seconds'] or {}).get(TOTAL), unit, spread=True)
            ratios = (mean_ratio([cells[name]], base) for name in names if name != base)
            lines.append([shape, time, *ratios])
        head = [f'{base} {unit}', *(name for name in names if name != base)]
        yield f'{base} in {unit} (20-80 %), the others relative to it', table(['', *head], lines)


def step_tables(run: Run) -> Iterator[tuple[str, str]]:
    """A table a case: a network, or a map."""
    for name, rows in grouped(run.rows, list(run.rows[0]['case'])).items():
        yield name, case_table(rows, run.settings['baselines'], run.settings['unit'])


def inference_tables(run: Run) -> Iterator[tuple[str, str]]:
    """Images per second, relative to batch norm and to SN; where it has the case, the paper's."""
    bases = run.settings['baselines']
    for name, rows in grouped(run.rows, list(run.rows[0]['case'])).items():
        case = rows[0]['case']
        paper = PAPER.get(case['model'], {}) if case['images'] == 32 else {}
        lines = []
        for row in rows:
            speed = {q: case['images'] / t for q, t in row['seconds'][TOTAL].items()}
            spread = f'{speed["median"]:.3g} ({speed["p80"]:.3g}-{speed["p20"]:.3g})'
            ratios = (1 / row['ratio'][base][TOTAL]['median'] for base in bases)
            line = [row['competitor'], spread, *(f'{ratio:.3g}' for ratio in ratios)]
            own = paper.get(row['competitor'])
            if paper:
                line += [f'{own:g} ({own / paper["BN"]:.2f})' if own else '']
            lines.append(line)
        head = ['', 'images/s (20-80 %)', *(f'speed / {base}' for base in bases)]
        head += ["the paper's images/s on a GTX 1080 (/ BN)"] if paper else []
        yield name, table(head, lines)


def radius_tables(run: Run) -> Iterator[tuple[str, str]]:
    """Times by radius: all layers in one call, and layer by layer."""
    base, unit = run.settings['baselines'][0], run.settings['unit']
    for rows in grouped(run.rows, ['logits']).values():
        calls, height, width = rows[0]['case']['logits']
        names = competitors(rows)
        lines = []
        for radius, own in grouped(rows, ['radius']).items():
            times = [show_time(row['seconds'][TOTAL], unit, spread=True) for row in own]
            lines.append([radius, *times, mean_ratio(own[-1:], base)])
        what = f'{calls} calls' if calls > 1 else 'One call'
        caption = f'{what} on logits ({height}, {width}), forward and backward, {unit} (20-80 %)'
        yield caption, table(['', *names, f'{names[-1]} / {base}'], lines)


def make_picture(runs: Sequence[Run], digest: str) -> bytes:
    """A row a device: time and memory relative to batch norm, of a layer and of a step."""
    shown = by_device([run for run in runs if run.tool in PANELS])
    panels = [
        (tool, what)
        for tool in PANELS
        for what in (('time',) if tool == INFERENCE else ('time', 'memory'))
        if any(run.tool == tool for own in shown.values() for run in own)
    ]
    tallest = max((len(competitors(r.rows)) for own in shown.values() for r in own), default=1)
    size = (0.6 + 3.7 * len(panels), len(shown) * (1.6 + 0.27 * tallest))
    figure = Figure(figsize=size if panels else (4, 1), layout='constrained')
    parts = figure.subfigures(max(1, len(shown)), 1, squeeze=False)[:, 0]
    for part, (device, own) in zip(parts, shown.items(), strict=False):
        part.suptitle(device, x=0.01, ha='left', weight='bold')
        line = part.subplots(1, len(panels), squeeze=False)[0]
        for axes, (tool, what) in zip(line, panels, strict=True):
            same = [run for run in own if run.tool == tool]
            if same:
                draw(axes, replace(same[0], rows=[row for run in same for row in run.rows]), what)
            else:
                axes.set_axis_off()
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150, metadata={DIGEST: digest})
    return picture.getvalue()


def draw(axes: Axes, run: Run, what: str) -> None:
    """One panel: a line a competitor, a mark a group of cases, the baseline at 1.

    Bars reach from the smallest to the largest case of a group; of a single case, from the 20 %
    to the 80 % quantile.
    """
    base = run.settings['baselines'][0]
    names = [name for name in competitors(run.rows) if name != 'copy']
    groups = grouped(run.rows, run.settings['groups'])
    mean = mean_ratio if what == 'time' else mean_memory
    for index, (group, rows) in enumerate(groups.items()):
        colour, marker = MARKS[index % len(MARKS)]
        shift = (index - (len(groups) - 1) / 2) * 0.6 / len(groups)
        marks = []
        for place, name in enumerate(names):
            own = [row for row in rows if row['competitor'] == name]
            value = mean(own, base)
            if value is not None:
                marks.append((value, place + shift))
                axes.plot(extremes(own, base, what), [place + shift] * 2, color=colour, alpha=0.4)
        if marks:
            x, y = zip(*marks, strict=True)
            axes.scatter(x, y, s=24, color=colour, marker=marker, label=group, zorder=3)
    if run.tool == INFERENCE:
        paper = {name: speed for name, speed in PAPER['resnet50'].items() if name in names}
        times, places = [paper[base] / v for v in paper.values()], [*map(names.index, paper)]
        axes.scatter(times, places, marker='x', color='0.3', label="the paper's R50")
    low, high = axes.get_xlim()
    fine = (1, 1.25, 1.5, 1.75) if high < 3 * low else (1, 1.5) if high < 8 * low else (1,)
    axes.set_xscale('log', base=2)
    axes.xaxis.set_major_locator(LogLocator(2, fine))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f'{value:g}')
    axes.axvline(1, color='0.3', linewidth=1, linestyle='--', zorder=1)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelleft=what == 'time')
    for label in axes.get_yticklabels():
        label.set_fontweight('bold' if label.get_text().startswith(('SN', 'SSN')) else 'normal')
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(color='0.9')
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_title(f'{PANELS[run.tool]}, {what}', loc='left')
    axes.set_xlabel(f'{"time" if what == "time" else "peak memory"} / {base}, less is better')
    if what == 'time':
        axes.legend(loc='upper left', bbox_to_anchor=(0, -0.2), ncols=2, frameon=False, fontsize=8)


def extremes(rows: Sequence[Row], base: str, what: str) -> tuple[float, float]:
    """What the bar of a mark spans."""
    if what == 'memory':
        found = [row['peak_ratio'][base] for row in rows if base in (row['peak_ratio'] or {})]
    else:
        ratios = [row['ratio'][base][TOTAL] for row in rows if base in (row['ratio'] or {})]
        found = [
            r[q] for r in ratios for q in (('p20', 'p80') if len(ratios) == 1 else ('median',))
        ]
    return min(found), max(found)


def by_device(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by device and threads, in the order of the page."""
    found: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: list(TITLES).index(run.tool)):
        name = run.environment['device']
        if not run.environment['cuda']:
            name += f', threads: {run.environment["threads"]}'
        found.setdefault(name, []).append(run)
    return found


def competitors(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row['competitor'] for row in rows))


def read_all(folder: Path) -> tuple[list[Run], str]:
    """All runs of a folder, and the digest of their files."""
    files = sorted(folder.glob('*.jsonl'))
    runs = [read_run(file) for file in files]
    if not runs:
        raise FileNotFoundError(
            f'no rows (*.jsonl) in {folder}; run the other tools of tools/benchmarks'
        )
    for file, run in zip(files, runs, strict=True):
        if run.tool not in TITLES:
            raise ValueError(f'{file} is of {run.tool!r}; expected one of {", ".join(TITLES)}')
        if (base := run.settings['baselines'][0]) not in competitors(run.rows):
            raise ValueError(f'{file} lacks {base}, which all is relative to; measure with it')
    return runs, hashlib.sha256(b''.join(file.read_bytes() for file in files)).hexdigest()


def differences(page: Path, picture: Path, text: str, digest: str) -> list[str]:
    """Which of the two files are not those of the rows.

    Of the picture it is the digest that counts: its pixels depend on matplotlib and the fonts.
    """
    found = []
    if not page.is_file() or page.read_text(encoding='utf-8') != text:
        found.append(str(page))
    if not picture.is_file() or Image.open(picture).info.get(DIGEST) != digest:
        found.append(str(picture))
    return found


def main() -> None:
    args = parse_args()
    page, picture = args.out / 'benchmarks.md', args.out / 'benchmarks.png'
    check_writes([] if args.check else [page, picture])
    runs, digest = read_all(args.data)
    text = make_page(runs)
    if args.check:
        if found := differences(page, picture, text, digest):
            again = command('benchmarks/render.py', '--data', args.data, '--out', args.out)
            sys.exit(f'{" and ".join(found)} differ from the rows in {args.data}; run\n    {again}')
        print(f'{page} and {picture} are those of the rows in {args.data}')
        return
    write_atomically(page, text.encode())
    write_atomically(picture, make_picture(runs, digest))
    print(f'Written: {page}, {picture}')


if __name__ == '__main__':
    run_tool(main)
