"""The tables of docs/deploy.md: networks and demos in every runtime, made from rows."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ssn_mm.files import write_atomically
from ssn_mm.timing.rounds import TOTAL
from ssn_mm.timing.rows import Timings, read_timings
from ssn_mm.timing.tables import grouped, table

ROOT = Path(__file__).resolve().parents[2]
TOOL = 'check_runtimes'
ROWS = ROOT / 'docs/deploy'
PAGE = ROOT / 'docs/deploy.md'
NETWORKS = {'SSN figure 5': 'mix of figure 5', 'LN': 'all LN', 'SSN selected BN': 'all BN'}
RUNTIMES = {
    '': 'PyTorch',
    'compile': 'torch.compile',
    'onnx': 'onnxruntime',
    'openvino': 'OpenVINO',
}
_METRICS = ('mIoU', 'accuracy/top1', 'acc/top1')  # of a task, what its table shows


def renew_page() -> Path:
    """Puts the table of the rows into the page, between the marks that it has for it."""
    text = PAGE.read_text(encoding='utf-8')
    write_atomically(PAGE, with_tables(text, read_rows()).encode())
    return PAGE


def read_rows() -> list[Timings]:
    return [read_timings(file) for file in sorted(ROWS.glob(f'{TOOL}-*.jsonl'))]


def with_tables(text: str, measured: Sequence[Timings]) -> str:
    """A page with the tables of these rows."""
    return _with_part(text, 'runtimes', (part for own in measured for part in _tables(own)))


def with_networks(text: str, measured: Sequence[Timings]) -> str:
    """A page with the speed of networks, relative to folded batch norm in the same runtime."""
    return _with_part(text, 'networks', (part for own in measured for part in _networks(own)))


def _with_part(text: str, name: str, parts: Iterable[str]) -> str:
    """A page with other lines between the marks of a part."""
    start, end = f'<!-- {name} -->\n', f'<!-- /{name} -->'
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f'the page lacks {start.strip()} and {end}')
    return '\n'.join([before + start, *parts, end + after])


def _networks(timings: Timings) -> Iterator[str]:
    own, lines = timings.environment, []
    for name, rows in grouped(timings.rows, ['model', 'images', 'size']).items():
        ratios = {row['competitor']: against_its_own(row) for row in rows}
        for key, runtime in RUNTIMES.items():
            names = [f'{norm} [{key}]' if key else norm for norm in NETWORKS]
            if ratios.get(names[0]):  # version 0.1 had no such ratio in other runtimes
                lines.append([name, runtime, *(ratios.get(norm) for norm in names)])
    yield (
        f'{own["cpu"]}, {own["threads"]} threads, torch {own["torch"]}, ssn_mm {own["ssn_mm"]}, '
        f'{own["date"]}:\n'
    )
    yield f'{table(["network", "runtime", *NETWORKS.values()], lines)}\n'


def against_its_own(row: dict[str, Any]) -> float | None:
    """Speed relative to batch norm in the runtime that a competitor's name has in brackets."""
    _, bracket, runtime = row['competitor'].partition(' [')
    found = row['ratio'].get(f'BN{bracket}{runtime}')
    return 1 / found[TOTAL]['median'] if found else None


def _tables(timings: Timings) -> Iterator[str]:
    own = timings.environment
    for name, rows in grouped(timings.rows, ['demo']).items():
        yield (
            f'**{name}**, {rows[0]["total"]} labels; {rows[0]["case"]["images"]} inputs a batch, '
            f'{own["cpu"]}, {own["threads"]} threads, torch {own["torch"]}, {own["date"]}:\n'
        )
        selections = grouped(rows, ['selection'])
        head, lines = ['runtime, precision'], []
        for selection in selections:
            head += [f'{selection}: metric', 'labels equal', 'ms', 'speed / float32']
        for own_rows in zip(*selections.values(), strict=True):
            cells = [cell for row in own_rows for cell in _cells(row)]
            lines.append([own_rows[0]['competitor'], *cells])
        yield f'{table(head, lines)}\n'


def percent(row: dict[str, Any]) -> float:
    """The metric of a row, in percent; mmaction2 gives it as a part."""
    name = next(name for name in _METRICS if name in row['metrics'])
    return row['metrics'][name] * (100 if name == 'acc/top1' else 1)


def _cells(row: dict[str, Any]) -> list[str]:
    """Metric in percent, equal labels, time, and speed relative to the runtime in float32."""
    if row['seconds'] is None:
        note = row['note'] if len(row['note']) < 20 else 'none here'
        return [note, '', '', '']
    equal = f'{row["equal"] / row["total"]:.2%}'
    spread = row['seconds'][TOTAL]
    if spread['p80'] > 2 * spread['p20']:  # something else ran
        return [f'{percent(row):.2f}', equal, 'disturbed', '']
    base = f'{row["competitor"].rpartition(" ")[0]} float32'
    ratio = (row['ratio'].get(base) or row['ratio']['trained'])[TOTAL]['median']
    milliseconds = spread['median'] * 1e3
    return [f'{percent(row):.2f}', equal, f'{milliseconds:.2f}', f'{1 / ratio:.2f}']
