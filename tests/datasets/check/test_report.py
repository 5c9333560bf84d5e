import json
from collections import Counter
from io import StringIO

from rich.console import Console

from ssn_mm.datasets.check.checks import Split
from ssn_mm.datasets.check.report import print_report, write_report
from ssn_mm.datasets.reading import Fault


def printed(*found):
    console = Console(file=StringIO(), width=120)
    print_report(list(found), console)
    return console.file.getvalue()


def images(**settings):
    return Split('train', task='classification', samples=6, decoded=6, **settings)


def test_every_class_has_a_row_with_its_count_and_share():
    counts = Counter({0: 3, 1: 1, 7: 2})
    rows = [
        line.strip('│ \n').split('│')
        for line in printed(images(classes=['cat', 'dog', 'cow'], counts=counts)).splitlines()
        if line.startswith('│')
    ]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ['0', 'cat', '3', '50.00 %'],
        ['1', 'dog', '1', '16.67 %'],
        ['2', 'cow', '0', '0.00 %'],
        ['7', 'no class', '2', '33.33 %'],
    ]


def test_a_thousand_classes_show_the_rarest_and_the_most_frequent():
    counts = Counter({label: label + 1 for label in range(1000)})
    output = printed(images(classes=[f'class {i}' for i in range(1000)], counts=counts))
    assert 'the 10 rarest and the 10 most frequent of 1000 classes' in output
    assert 'class 9 ' in output
    assert 'class 990 ' in output
    assert 'class 500 ' not in output


def test_a_fault_is_one_line_as_it_is_and_the_eleventh_of_a_kind_is_counted():
    faults = [Fault('unreadable', f'/data/[red]{i}.jpg', 'is ' + 'long ' * 40) for i in range(11)]
    faults.append(Fault('duplicate', '/data/0.jpg', 'is listed 2 times'))
    lines = printed(images(faults=faults)).splitlines()
    told = [line for line in lines if 'unreadable: /data' in line]
    assert len(told) == 10
    assert told[0] == f'train: unreadable: /data/[red]0.jpg: is {"long " * 40}'
    assert 'train: unreadable: and 1 more' in lines
    assert lines[-1] == '12 faults in 6 samples of train: 11 unreadable, 1 duplicate'


def test_notes_are_told_and_are_no_faults():
    notes = [Fault('one frame', '/data/0.mp4', 'is a video of a single frame')]
    lines = printed(images(notes=notes)).splitlines()
    assert 'train: note: one frame: /data/0.mp4: is a video of a single frame' in lines
    assert lines[-1] == 'No fault in 6 samples of train'


def test_the_json_has_every_fault_and_every_count(tmp_path):
    faults = [Fault('unreadable', f'{i}.jpg', 'is broken') for i in range(30)]
    split = images(classes=['cat', 'dog'], counts=Counter({1: 4, 0: 2}), faults=faults)
    write_report([split, Split('val', same_as='train')], 'config.py', tmp_path / 'found.json')
    found = json.loads((tmp_path / 'found.json').read_text())
    assert found['config'] == 'config.py'
    train = found['splits']['train']
    assert train['counts'] == {'0': 2, '1': 4}
    assert train['faults'][29] == {'kind': 'unreadable', 'file': '29.jpg', 'what': 'is broken'}
    assert found['splits']['val']['same_as'] == 'train'
