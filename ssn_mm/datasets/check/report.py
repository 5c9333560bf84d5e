"""Writes what a check of the data has found, for people and as JSON."""

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ...files import write_atomically
from ..reading import Fault
from .checks import UNITS, Split

MOST = 10  # so many faults of a kind are printed
LONGEST = 200  # rows of a table; of a longer one the ends are shown
ENDS = 10  # rows of each end


def print_report(found: list[Split], console: Console) -> None:
    """Prints the counts of classes, a line for each fault, and a summary."""
    for split in found:
        if split.same_as:
            console.print(f'\n{split.name}: the same data as {split.same_as}')
            continue
        part = '' if split.decoded == split.samples else f', {split.decoded} of them decoded'
        console.print(f'\n{split.name}: {split.samples} samples{part}')
        if split.counts:
            _print_table(split, console)
        _print_faults(split.faults, split.name, console)
        _print_faults(split.notes, f'{split.name}: note', console)
    checked = [split for split in found if not split.same_as]
    faults = [fault for split in checked for fault in split.faults]
    kinds = dict.fromkeys(fault.kind for fault in faults)
    told = ', '.join(f'{sum(f.kind == kind for f in faults)} {kind}' for kind in kinds)
    samples = sum(split.samples for split in checked)
    where = f'{samples} samples of {", ".join(split.name for split in checked)}'
    counted = f'{len(faults)} faults in {where}: {told}' if faults else f'No fault in {where}'
    _print(console, f'\n{counted}')


def write_report(found: list[Split], config: str, path: Path) -> None:
    """Writes all that was found as JSON, every fault and the counts of all classes."""
    splits = {}
    for split in found:
        entry = asdict(split)
        entry['counts'] = {str(label): number for label, number in sorted(split.counts.items())}
        splits[entry.pop('name')] = entry
    text = json.dumps({'config': config, 'splits': splits}, indent=2)
    write_atomically(path, f'{text}\n'.encode())


def _print_faults(faults: list[Fault], title: str, console: Console) -> None:
    for kind in dict.fromkeys(fault.kind for fault in faults):
        alike = [fault for fault in faults if fault.kind == kind]
        for fault in alike[:MOST]:
            _print(console, f'{title}: {kind}: {fault.file}: {fault.what}')
        if len(alike) > MOST:
            _print(console, f'{title}: {kind}: and {len(alike) - MOST} more')


def _print_table(split: Split, console: Console) -> None:
    names = dict(enumerate(split.classes))
    other = 'no class' if names else ''  # '': nothing says how many classes there are
    names |= {label: other for label in split.counts if label not in names}
    if split.ignored in names:
        names[split.ignored] = 'ignored'
    rows = sorted(names)
    unit = UNITS[split.task]
    if len(rows) > LONGEST:
        rows.sort(key=lambda label: split.counts[label])
        console.print(f'the {ENDS} rarest and the {ENDS} most frequent of {len(rows)} classes:')
        rows = rows[:ENDS] + rows[-ENDS:]
    table = Table('label', 'class', unit, 'share')
    for column in (0, 2, 3):
        table.columns[column].justify = 'right'
    total = sum(split.counts.values())
    for label in rows:
        count = split.counts[label]
        table.add_row(str(label), names[label], str(count), f'{100 * count / total:.2f} %')
    console.print(table)


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
