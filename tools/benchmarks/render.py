"""Make docs/benchmarks.md and its picture from rows: python tools/benchmarks/render.py"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from _render_picture import DIGEST, make_picture
from _render_rows import (
    FORMS,
    INFERENCE,
    LAYER,
    PAPER,
    SPARSESTMAX,
    STAGES,
    STEP,
    TITLES,
    by_device,
    competitors,
    read_all,
)
from _render_runtimes import PAGE, against_its_own, with_networks
from PIL import Image

from ssn_mm.cli.tool import run_tool
from ssn_mm.commands import command
from ssn_mm.files import check_writes, write_atomically
from ssn_mm.timing.rounds import TOTAL
from ssn_mm.timing.rows import Timings, has_neighbour
from ssn_mm.timing.tables import case_table, grouped, mean_ratio, mean_table, show_time, table

ROOT = Path(__file__).resolve().parents[2]
COMMAND = 'python tools/benchmarks/render.py'
INTRODUCTION = f"""# Benchmarks

Made by `{COMMAND}` from the rows in `docs/benchmarks`, not by hand.
Each of the other commands writes one file of rows; `--help` explains what it measures:

```bash
python tools/benchmarks/bench_switch_norm.py --channels-last
python tools/benchmarks/bench_switch_norm.py --busy --competitors BN GN 'SSN competing'
python tools/benchmarks/bench_train_step.py
python tools/benchmarks/bench_inference.py
python tools/benchmarks/bench_onnx_norms.py
python tools/benchmarks/bench_sparsestmax.py
python tools/benchmarks/bench_stages.py --channels-last
{COMMAND}
```

- All competitors of a case run in one process, in turns, in an order shuffled for each round. Times
  are medians with 20 % and 80 % quantiles. Ratios are taken round by round; their median is shown.
- *BN* is `nn.BatchNorm`, *SyncBN* `nn.SyncBatchNorm` in a single process, *GN* `nn.GroupNorm(32)`,
  *IN* `nn.InstanceNorm(affine=True)`, *LN* `nn.GroupNorm(1)`; *authors' formula* is the paper's
  Eq. 1 as plain autograd, each normalizer measuring the map by itself. Others are
  [contestants](contestants.md); GN+WS has GN's layer and standardizes weights of networks.
- *SN* and *SSN competing* weigh three normalizers. *SSN selected BN* has selected batch norm for
  mean and variance. *SSN figure 5* has one-hot ratios too, mixed over the layers: half BN, a
  quarter IN, a quarter LN, for mean and variance independently; these proportions are an
  assumption, as the paper's figure 5 has no numbers. A single layer has mean BN and variance LN. A
  name in brackets is the backend that was set; without it the best was taken.
- Deployed networks are frozen and folded, their selections as above: every batch norm is gone,
  other norms overwrite the convolution's output. SN cannot be frozen and runs on this package's
  kernels; *SN [cpu]* on PyTorch's operators alone. *[onnx]* is run by onnxruntime, *[openvino]* by
  OpenVINO. The paper's numbers are its table 3.
- Forms of a norm in ONNX: four 1x1 convolutions, the norm and a ReLU behind each; *no norm* is what
  folded batch norm leaves.
- Memory is the peak of a run above what lay in memory before it: outputs, gradients, temporaries.
- The roofline is the time in which a plain copy would move the bytes that a layer must move: three
  passes over the map forward (x twice, y), five backward (x and dy twice, dx). Maps that fit into
  the cache can exceed 100 %.
- *One core busy* means beside a process that keeps one core busy, as a loader's worker does.

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


def make_page(measured: Sequence[Timings]) -> str:
    """The page: for each device its benchmarks, each with its environment and tables."""
    makers = {
        LAYER: layer_tables,
        STEP: step_tables,
        SPARSESTMAX: radius_tables,
        STAGES: step_tables,
        INFERENCE: inference_tables,
        FORMS: layer_tables,
    }
    parts = [INTRODUCTION]
    for device, own in by_device(measured).items():
        parts.append(f'## {device}\n')
        for timings in own:
            busy = has_neighbour(timings)
            title = TITLES[timings.tool] + ', one core busy' * busy
            parts += [f'### {title}\n', f'{describe_environment(timings)}\n']
            tables = neighbour_tables(timings, own) if busy else makers[timings.tool](timings)
            parts += [f'{caption}:\n\n{lines}\n' for caption, lines in tables]
    return '\n'.join(parts)


def describe_environment(timings: Timings) -> str:
    """What the numbers depend on, in a line."""
    words = [f'{k} {v}' for k, v in timings.environment.items() if v is not None and k != 'device']
    rounds = [row['rounds'] for row in timings.rows if row['seconds']] or [0]
    smoke = '**A smoke run: its numbers mean nothing.** ' if timings.settings['smoke'] else ''
    count = '-'.join(map(str, sorted({min(rounds), max(rounds)})))
    return f'{smoke}{", ".join(words)}; {count} rounds a case.'


def layer_tables(timings: Timings) -> Iterator[tuple[str, str]]:
    """Geometric means, then the time relative to the first baseline shape by shape."""
    base, unit = timings.settings['baselines'][0], timings.settings['unit']
    for name, rows in grouped(timings.rows, timings.settings['groups']).items():
        shapes = grouped(rows, ['shape'])
        yield (
            f'Geometric means over {len(shapes)} shapes, {name}',
            mean_table(rows, timings.settings['baselines']),
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


def neighbour_tables(busy: Timings, measured: Sequence[Timings]) -> Iterator[tuple[str, str]]:
    """How a busy core moves the times relative to the first baseline; then these as ever."""
    base = busy.settings['baselines'][0]
    alone = [
        row for t in measured if t.tool == busy.tool and not has_neighbour(t) for row in t.rows
    ]
    times = {(str(row['case']), row['competitor']): row for row in alone if row['seconds']}
    for name, rows in grouped(busy.rows, busy.settings['groups']).items():
        lines = []
        for competitor in competitors(rows):
            own = [row for row in rows if row['competitor'] == competitor and row['seconds']]
            quiet = [times.get((str(row['case']), competitor)) for row in own]
            pairs = [(q, b) for q, b in zip(quiet, own, strict=True) if q]
            if competitor == base or not pairs:
                continue
            before, after = (mean_ratio(side, base) for side in zip(*pairs, strict=True))
            lines.append([competitor, len(pairs), before, after, after / before])
        head = ['', 'shapes', f'/ {base}, quiet', f'/ {base}, one core busy', 'busy / quiet']
        yield f'Time relative to {base}, geometric means, {name}', table(head, lines)
    yield from layer_tables(busy)


def step_tables(timings: Timings) -> Iterator[tuple[str, str]]:
    """A table a case: a network, or a map."""
    for name, rows in grouped(timings.rows, list(timings.rows[0]['case'])).items():
        yield name, case_table(rows, timings.settings['baselines'], timings.settings['unit'])


def inference_tables(timings: Timings) -> Iterator[tuple[str, str]]:
    """Images per second, relative to batch norm and to SN; where it has the case, the paper's."""
    bases = timings.settings['baselines']
    for name, rows in grouped(timings.rows, list(timings.rows[0]['case'])).items():
        case = rows[0]['case']
        paper = PAPER.get(case['model'], {}) if case['images'] == 32 else {}
        lines = []
        for row in rows:
            speed = {q: case['images'] / t for q, t in row['seconds'][TOTAL].items()}
            spread = f'{speed["median"]:.3g} ({speed["p80"]:.3g}-{speed["p20"]:.3g})'
            ratios = (1 / row['ratio'][base][TOTAL]['median'] for base in bases)
            line = [row['competitor'], spread, *(f'{ratio:.3g}' for ratio in ratios)]
            line += [against_its_own(row)]
            own = paper.get(row['competitor'])
            if paper:
                line += [f'{own:g} ({own / paper["BN"]:.2f})' if own else '']
            lines.append(line)
        head = ['', 'images/s (20-80 %)', *(f'speed / {base}' for base in bases)]
        head += [f'speed / {bases[0]}, same runtime']
        head += ["the paper's images/s on a GTX 1080 (/ BN)"] if paper else []
        yield name, table(head, lines)


def radius_tables(timings: Timings) -> Iterator[tuple[str, str]]:
    """Times by radius: all layers in one call, and layer by layer."""
    base, unit = timings.settings['baselines'][0], timings.settings['unit']
    for rows in grouped(timings.rows, ['logits']).values():
        calls, height, width = rows[0]['case']['logits']
        names = competitors(rows)
        lines = []
        for radius, own in grouped(rows, ['radius']).items():
            times = [show_time(row['seconds'][TOTAL], unit, spread=True) for row in own]
            lines.append([radius, *times, mean_ratio(own[-1:], base)])
        what = f'{calls} calls' if calls > 1 else 'One call'
        caption = f'{what} on logits ({height}, {width}), forward and backward, {unit} (20-80 %)'
        yield caption, table(['', *names, f'{names[-1]} / {base}'], lines)


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
    measured, digest = read_all(args.data)
    text = make_page(measured)
    networks = [timings for timings in measured if timings.tool == INFERENCE]
    if args.check:
        if found := differences(page, picture, text, digest):
            again = command('benchmarks/render.py', '--data', args.data, '--out', args.out)
            sys.exit(f'{" and ".join(found)} differ from the rows in {args.data}; run\n    {again}')
        print(f'{page} and {picture} are those of the rows in {args.data}')
        return
    write_atomically(page, text.encode())
    write_atomically(picture, make_picture(measured, digest))
    print(f'Written: {page}, {picture}')
    if args.out == PAGE.parent:
        deploying = with_networks(PAGE.read_text(encoding='utf-8'), networks)
        write_atomically(PAGE, deploying.encode())
        print(f'Written: {PAGE}')


if __name__ == '__main__':
    run_tool(main)
