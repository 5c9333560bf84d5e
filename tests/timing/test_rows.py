import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ssn_mm.timing import rows, tables
from ssn_mm.timing.rows import Timings, environment, read_timings, write_timings
from ssn_mm.timing.tables import mean_table, table


def row(competitor, shape, total, base=1.0):
    spread = dict(p20=total, median=total, p80=total)
    ratio = dict(BN=dict(total={q: t / base for q, t in spread.items()}))
    seconds = None if total is None else dict(total=spread)
    case = dict(shape=shape, dtype='float32')
    return dict(
        **dict(case=case, competitor=competitor, backend=None, note=None, rounds=3),
        **dict(seconds=seconds, ratio=ratio, peak_bytes=4 * 2**20, peak_ratio=dict(BN=2.0)),
    )


TIMINGS = Timings(
    'bench_switch_norm', dict(device='A CPU, of 2'), dict(seed=0), [row('BN', [1, 2], 3.0)]
)


def test_what_is_written_is_read(tmp_path):
    write_timings(tmp_path / 'new' / 'rows.jsonl', TIMINGS)
    assert read_timings(tmp_path / 'new' / 'rows.jsonl') == TIMINGS
    assert rows.file_name(TIMINGS) == 'bench_switch_norm-a-cpu-of-2.jsonl'
    beside = replace(TIMINGS, settings=dict(busy=True))
    assert rows.file_name(beside) == 'bench_switch_norm-busy-a-cpu-of-2.jsonl'


def test_a_failed_write_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / 'rows.jsonl'
    write_timings(path, TIMINGS)

    def fail(*_):
        raise OSError('disk full')

    monkeypatch.setattr(rows.os, 'replace', fail)
    with pytest.raises(OSError, match='disk full'):
        write_timings(path, Timings('other', {}, {}, []))
    with pytest.raises(ValueError, match='JSON'):
        write_timings(path, Timings('other', {}, dict(a=float('nan')), []))
    assert list(tmp_path.iterdir()) == [path]
    assert read_timings(path) == TIMINGS


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (
            lambda lines: [lines[0], lines[1][:40]],
            "line 2: expected a JSON object with case.*got '{",
        ),
        (lambda lines: lines[1:] * 2, 'line 1: expected a JSON object with environment'),
        (lambda lines: [lines[0], '[1, 2]'], r"line 2.*got '\[1, 2\]'"),
        (lambda lines: lines[:1], 'holds 1 lines and so no rows; measure again'),
        (lambda lines: [], 'holds 0 lines'),
    ],
)
def test_damaged_rows_are_named(tmp_path, damage, message):
    path = tmp_path / 'rows.jsonl'
    write_timings(path, TIMINGS)
    path.write_text('\n'.join(damage(path.read_text().splitlines())))
    with pytest.raises(ValueError, match=message):
        read_timings(path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(case='all'), 'case is "all", expected what was measured'),
        (dict(competitor=3), 'competitor is 3, expected a name'),
        (dict(seconds=2.0), 'seconds is 2.0, expected p20, median, p80 of each phase'),
        (dict(seconds=dict(total=dict(median='long'))), 'seconds is '),
        (dict(ratio=dict(BN=dict(total=None))), 'ratio to BN is '),
        (dict(ratio=[1]), r'ratio is \[1\], expected an entry for each baseline'),
        (dict(peak_bytes='many'), 'peak_bytes is "many", expected a number'),
        (dict(peak_ratio=dict(BN='2')), 'BN is "2", expected a number'),
    ],
)
def test_a_row_without_numbers_is_told_with_its_place(tmp_path, change, message):
    path = tmp_path / 'rows.jsonl'
    write_timings(path, replace(TIMINGS, rows=[*TIMINGS.rows, TIMINGS.rows[0] | change]))
    with pytest.raises(ValueError, match=message) as told:
        read_timings(path)
    assert str(told.value).startswith(f'{path}, line 3: ')


def test_a_cell_may_hold_what_ends_one_in_markdown():
    assert table(['', 'a|b'], [['x|y', 1]]).splitlines() == [
        '|      | a\\|b |',
        '| :--- | ---: |',
        '| x\\|y |    1 |',
    ]


def test_environment_names_no_path_and_no_host():
    own = environment(seed=7)
    assert own['seed'] == 7
    assert own['threads'] == torch.get_num_threads()
    assert own['torch'] == torch.__version__
    text = json.dumps(own)
    assert '/' not in text
    assert str(Path.home()) not in text
    # a host may be called like a word that belongs here, but not a long one
    assert len(socket.gethostname()) < 6 or socket.gethostname() not in text


def test_means_are_geometric_and_tell_who_missed_a_case():
    own = [row('BN', [1], 1.0), row('BN', [2], 1.0), row('SSN', [1], 2.0), row('SSN', [2], 8.0)]
    own += [row('IN', [1], 3.0), dict(row('IN', [2], 3.0), seconds=None, ratio=None)]
    head, _, bn, ssn, instance = mean_table(own, ('BN', 'GN')).splitlines()
    assert [cell.strip() for cell in head.split('|')[2:-1]] == ['time / BN', 'memory / BN']
    assert [cell.strip() for cell in bn.split('|')[1:-1]] == ['BN', '1.00', '2.00']
    assert [cell.strip() for cell in ssn.split('|')[1:-1]] == ['SSN', '4.00', '2.00']
    assert instance.split('|')[1].strip() == 'IN (1 of 2 cases)'


def test_figures_stay_three():
    numbers = [123456.0, 99.97, 12.345, 1.0, 0.9996, 0.012345, 0.0, None, 7, 'text']
    expected = ['123456', '100', '12.3', '1.00', '1.00', '0.0123', '0', '-', '7', 'text']
    assert [tables._text(n) for n in numbers] == expected
