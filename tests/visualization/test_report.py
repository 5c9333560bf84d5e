import json
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from recorded import make_results

from ssn_mm.cli.results import read_source
from ssn_mm.suites.results import write_results
from ssn_mm.visualization.picture import COLOURS
from ssn_mm.visualization.ratio_figures import kind_of, plot_layers, plot_network
from ssn_mm.visualization.report import figures, write_report
from ssn_mm.visualization.run_figures import plot_curves, plot_metric
from ssn_mm.visualization.trajectory import plot_trajectory

ROOT = Path(__file__).parents[2]
CHROMIUM = shutil.which('chromium')
QUIET = '--headless --no-sandbox --disable-gpu --disable-background-networking --disable-sync '
QUIET += '--disable-component-update --no-first-run --hide-scrollbars --window-size=1200,9000'


def drawn(picture):
    image = cv2.imdecode(np.frombuffer(picture.png(), np.uint8), cv2.IMREAD_COLOR)
    return image[..., ::-1].astype(int)


def part(image, colour):
    """Of pixels near a colour."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(image - rgb).max(-1) < 12).mean()


def test_every_figure_has_data_and_shows_it(results):
    pictures = {picture.name: picture for picture in figures(results)}
    assert list(pictures) == [
        *(
            'metric',
            'differences',
            'curves',
            'cost',
            'average_ratios',
            'agreement',
            'layers',
            'network',
            'progress',
            'trajectory',
            'layer_shares',
        )
    ]
    for picture in pictures.values():
        assert len(picture.lines) >= 4
        assert all(len(line) == len(picture.head) for line in picture.lines)
        assert (drawn(picture) < 200).any(-1).mean() > 0.005, picture.name
    averages = [
        line for line in pictures['average_ratios'].lines if line[:3] == ['SSN', '2', 'mean']
    ]
    assert sum(line[-1] for line in averages) == pytest.approx(1)
    shown = {line[0] for line in pictures['layers'].lines}
    assert shown == {'SN, 2, seed 0', 'SSN, 2, seed 0'}
    assert pictures['network'].caption.endswith('Of SSN, 2, seed 0.')


def test_an_axis_of_the_main_metric_says_where_less_is_better(results):
    for rule, label in dict(greater='top-1', less='top-1 (less is better)').items():
        own = replace(results, rule=rule)
        assert plot_metric(own).figure.axes[0].get_ylabel() == label
        labels = [axes.get_ylabel() for axes in plot_curves(own).figure.axes]
        assert f'{label} in validation' in labels


def test_the_network_is_coloured_by_its_selection(make_ratios):
    run = make_ratios()
    run.ratios[-1] = [0, 0, 1]  # every layer selected BN
    image = drawn(plot_network(run))
    legend = part(image, COLOURS['IN'])
    assert part(image, COLOURS['BN']) > 5 * legend > 0


def test_layers_of_two_trainings_stand_side_by_side(make_ratios):
    picture = plot_layers({'SN': make_ratios(False), 'SSN': make_ratios()})
    assert len(picture.lines) == 2 * 4 * 2 * 3
    assert len(picture.figure.axes) == 4


@pytest.mark.parametrize(
    ('layer', 'kind'),
    [
        ('backbone.bn1', ''),
        ('backbone.layer1.0.bn1', ''),  # of a bottleneck, after a 1x1 convolution
        ('backbone.layer1.0.bn2', 'after a 3x3 convolution'),
        ('backbone.layer1.0.bn3', ''),
        ('backbone.layer1.0.downsample.1', 'in a shortcut'),
        ('backbone.layer2.0.bn1', 'after a 3x3 convolution'),  # of a basic block
        ('backbone.layer3.0.conv1.bn', 'after a 3x3 convolution'),  # as videos' networks have it
        ('backbone.layer3.0.downsample.bn', 'in a shortcut'),
    ],
)
def test_figure_5_marks_layers_after_3x3_convolutions_and_shortcuts(layer, kind):
    layers = [f'backbone.layer1.0.bn{i}' for i in (1, 2, 3)] + ['backbone.layer2.0.bn1']
    assert kind_of(layer, layers) == kind


def test_paths_are_drawn_of_three_normalizers_and_of_layers_that_exist(make_ratios):
    runs = {'SN': make_ratios(False), 'SSN': make_ratios()}
    picture = plot_trajectory(runs, ['backbone.bn1'])
    assert {tuple(line[:2]) for line in picture.lines} == {(run, 'backbone.bn1') for run in runs}
    assert len(picture.figure.axes) == 4 + 1  # and the bar of colours
    with pytest.raises(ValueError, match=r"no layer 'neck'; there are backbone\.bn1"):
        plot_trajectory({'SSN': make_ratios()}, ['neck'])
    with pytest.raises(ValueError, match='a simplex is drawn of three normalizers'):
        plot_trajectory({'SSN': make_ratios(names=('IN', 'BN'))})


class Addresses(HTMLParser):
    found: list

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ('src', 'href')]


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    """A report of runs of which one failed."""
    results = make_results()
    failed = dict(results.rows[0], status='failed', run='bad', error='code 1', last_lines=['<NaN>'])
    folder = tmp_path_factory.mktemp('report')
    return write_report(replace(results, rows=[*results.rows, failed]), folder)


def test_the_report_needs_no_other_file_and_says_what_failed(results, page):
    html = page.read_text()
    parser = Addresses()
    parser.found = []
    parser.feed(html)
    assert len(parser.found) > 16
    assert all(address.startswith(('data:', '#')) for address in parser.found)
    assert '&lt;NaN&gt;' in html
    assert 'The paper&#39;s are of its own data and network' in html
    for picture in figures(results):
        assert (page.parent / f'{picture.name}.png').stat().st_size > 1000
        assert (page.parent / f'{picture.name}.csv').read_text() == picture.csv()


def test_without_a_run_that_is_done_there_is_no_report(results, tmp_path):
    with pytest.raises(ValueError, match='no run of grid is done'):
        write_report(replace(results, rows=[dict(results.rows[0], status='failed')]), tmp_path)
    assert not list(tmp_path.iterdir())


def opened(page, shot):
    """What Chromium says on its console; a request that the page's policy forbids, too."""
    command = [CHROMIUM, *QUIET.split(), f'--user-data-dir={page.parent}/profile']
    command.append('--enable-logging=stderr')
    done = subprocess.run(
        [*command, f'--screenshot={shot}', page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    return [line for line in done.stderr.splitlines() if 'CONSOLE' in line]


@pytest.mark.skipif(CHROMIUM is None, reason='needs Chromium')
def test_chromium_shows_the_report_without_requests_or_errors(page, tmp_path):
    shot = tmp_path / 'shot.png'
    assert opened(page, shot) == []
    shown = cv2.imread(str(shot))
    assert shown.shape == (9000, 1200, 3)
    assert (shown[:8000] < 128).any(-1).mean() > 0.01
    asks = tmp_path / 'asks.html'
    asks.write_text(page.read_text().replace('</body>', '<img src="http://example.org/x.png">'))
    assert 'violates the following Content Security Policy' in opened(asks, shot)[0]


def test_the_tools_draw_a_training(make_ratios, tmp_path, run_tool):
    run = make_ratios()
    header = dict(layers=run.layers, normalizers=[run.normalizers] * 4)
    lines = [header]
    for at, radius, ratios in zip(run.iters, run.radius, run.ratios, strict=True):
        lines.append(dict(iter=int(at), radius=float(radius), ratios=ratios.tolist()))
    for name in ('sn', 'ssn'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'ssn_ratios.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    tools = ROOT / 'tools/analysis_tools'
    code, output = run_tool(sys.executable, tools / 'plot_ratios.py', 'sn', 'ssn', '--out', 'out')
    assert code == 0, output
    code, output = run_tool(sys.executable, tools / 'plot_trajectory.py', 'ssn', '--out', 'out')
    assert code == 0, output
    assert sorted(path.stem for path in (tmp_path / 'out').glob('*.png')) == [
        *('layers', 'network', 'progress', 'trajectory')
    ]


def test_the_report_of_a_results_file_lies_beside_it(results, tmp_path, run_tool):
    write_results(tmp_path / 'own/results.jsonl', results)
    tool = ROOT / 'tools/analysis_tools/report.py'
    code, output = run_tool(sys.executable, tool, 'own/results.jsonl')
    assert code == 0, output
    assert (tmp_path / 'own/report/report.html').is_file()
    code, output = run_tool(sys.executable, tool, 'nowhere')
    assert code == 2
    assert "no suite 'nowhere'" in output


def test_the_committed_figures_are_of_the_committed_results():
    """Pictures that pages show, and no others: a command renews them all."""
    pages = [path.read_text(encoding='utf-8') for path in (ROOT / 'docs').glob('*.md')]
    files = sorted((ROOT / 'docs/study').rglob('*.png'))
    assert files
    for file in files:
        pictures = {
            own.name: own for own in figures(read_source(file.with_name('results.jsonl'))[0])
        }
        assert Image.open(file).text['data'] == pictures[file.stem].digest, file
        place = file.relative_to(ROOT / 'docs').as_posix()
        assert any(f'({place})' in page for page in pages), f'no page shows {place}'
    assert {path.suffix for path in (ROOT / 'docs/study').glob('*/*.*')} == {'.png', '.jsonl'}


def test_a_report_escapes_what_it_prints(results, tmp_path):
    attack = '<img src=x onerror=alert(1)>'
    rows = [
        row | dict(label=row['label'] + attack, provenance=row['provenance'] | dict(code=attack))
        for row in results.rows
    ]
    failed = rows[0] | dict(seed=9, status='failed', error=attack, last_lines=[attack])
    spoiled = replace(results, name=attack, title=attack, variant=attack, rows=[*rows, failed])
    page = write_report(spoiled, tmp_path).read_text()
    assert attack not in page
    assert page.count('&lt;img src=x onerror=alert(1)&gt;') >= 3
