"""Draws docs/architecture.svg: python docs/mkdocs/architecture.py

The packages and their order are those of ORDER in tests/test_layout.py. Files on the ways must
exist.
"""

import ast
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / 'docs/architecture.svg'
COLOURS = {'norm_cfg': '#0072b2', 'radius': '#d55e00'}
BANDS = {  # from the top: what a group of packages may count on, and its packages from the top
    'commands': ['registration', 'cli'],
    'results': ['visualization', 'suites', 'apis', 'deploy', 'publish'],
    'OpenMMLab': ['engine', 'contestants', 'datasets', 'timing', 'patches', 'weights'],
    'PyTorch alone': ['layers', 'ops'],
}
SAYS = {
    'configs': 'what is trained: networks, data, schedules',
    'registration': 'makes the types known to OpenMMLab',
    'cli': 'what each command in tools/ does',
    'visualization': 'figures and reports of trainings',
    'suites': 'grids of trainings, results, significance',
    'apis': 'a trained network as a function',
    'deploy': 'freeze, fold, export, verify',
    'publish': 'giving weights away; the Hub',
    'engine': 'hooks, optimizers, resuming, schedules',
    'contestants': 'the norms that are compared',
    'datasets': 'digits, reading and checking samples',
    'timing': 'competitors side by side',
    'patches': 'what is changed in other libraries',
    'weights': "reading anybody's checkpoints",
    'layers': 'SSN, SN, MixedNorm and what drives them',
    'ops': 'functions on tensors; backends',
}
WAYS = {  # where a value comes by, from the top: package, file, what it is there
    'norm_cfg': [
        ('configs', 'configs/_base_/norms/ssn.py', 'a dict'),
        ('registration', 'ssn_mm/registration.py', 'its type is a class'),
        ('layers', 'ssn_mm/layers/switch_norm.py', 'class SSN'),
        ('layers', 'ssn_mm/layers/base.py', 'its arguments'),
        ('ops', 'ssn_mm/ops/norm.py', 'one Norm'),
        ('ops', 'ssn_mm/ops/switch_norm.py', 'is checked'),
        ('ops', 'ssn_mm/ops/dispatch.py', 'finds a backend'),
        ('ops', 'ssn_mm/ops/backends/cpp/__init__.py', 'is computed'),
    ],
    'radius': [
        ('configs', 'configs/_base_/norms/ssn.py', 'a hook'),
        ('engine', 'ssn_mm/engine/schedules.py', 'of progress'),
        ('engine', 'ssn_mm/engine/hooks/radius_hook.py', 'each step'),
        ('layers', 'ssn_mm/layers/driving.py', 'set_radius'),
        ('layers', 'ssn_mm/layers/switch_norm.py', 'a buffer'),
        ('ops', 'ssn_mm/ops/norm.py', 'beside logits'),
        ('ops', 'ssn_mm/ops/backends/cpp/__init__.py', 'SparsestMax'),
    ],
}
WIDTH, LEFT, BOX, LINE, GAP = 1120, 130, 380, 21, 8
LANES = {'norm_cfg': 540, 'radius': 840}


def main() -> None:
    PICTURE.write_text(draw(), encoding='utf-8')
    print(f'{PICTURE.relative_to(ROOT)} written')


def draw() -> str:
    """The picture as SVG."""
    drawn = [package for packages in BANDS.values() for package in packages]
    expected = [package for package in reversed(_order()) if package in SAYS]
    if drawn != expected:
        raise ValueError(f'packages are drawn as {drawn}, but tests/test_layout.py has {expected}')
    places, bands, bottom = _places()
    parts = [_band(name, *place) for name, place in bands.items()]
    parts += [_box(package, *places[package]) for package in places]
    parts += [_way(name, stops, places) for name, stops in WAYS.items()]
    style = 'font-family="Helvetica, Arial, sans-serif" font-size="13" fill="#222"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom}" {style}>'
    paper = f'<rect width="{WIDTH}" height="{bottom}" fill="white"/>'
    rule = (
        f'<text x="{LEFT}" y="32" fill="#555">Each package imports only packages below it.</text>'
    )
    return '\n'.join([head, paper, rule, *parts, '</svg>\n'])


def _order() -> list[str]:
    """The packages of tests/test_layout.py, lowest first."""
    source = ast.parse((ROOT / 'tests/test_layout.py').read_text(encoding='utf-8'))
    for node in source.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'ORDER':
            return [package for level in ast.literal_eval(node.value) for package in level]
    raise ValueError('tests/test_layout.py states no ORDER')


def _places() -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]], int]:
    """Top and height of each package and band, and the height of the picture."""
    packages, bands, y = {'configs': (50, 34)}, {}, 50 + 34 + 2 * GAP
    for band, names in BANDS.items():
        top = y
        for name in names:
            stops = max(sum(package == name for package, *_ in way) for way in WAYS.values())
            packages[name] = (y, max(34, LINE * stops + 13))
            y += packages[name][1] + GAP
        bands[band] = (top - GAP // 2, y - top)
        y += GAP
    return packages, bands, y + 4


def _band(name: str, top: int, height: int) -> str:
    label = f'<text x="18" y="{top + 20}" font-weight="bold" fill="#666">{escape(name)}</text>'
    return f'<rect x="8" y="{top}" width="{WIDTH - 16}" height="{height}" fill="#f1f3f5"/>\n{label}'


def _box(name: str, top: int, height: int) -> str:
    shown = f'{name}/' if name != 'registration' else 'registration.py'
    return (
        f'<rect x="{LEFT}" y="{top}" width="{BOX}" height="{height}" rx="4" fill="white" '
        f'stroke="#888"/>\n<text x="{LEFT + 12}" y="{top + 22}"><tspan font-weight="bold">{shown}'
        f'</tspan><tspan dx="8" fill="#555">{escape(SAYS[name])}</tspan></text>'
    )


def _way(name: str, stops: list[tuple[str, str, str]], places: dict[str, tuple[int, int]]) -> str:
    """The way of a value: a line with a stop at each file."""
    x, colour, parts, seen, ys = LANES[name], COLOURS[name], [], {}, []
    for package, file, says in stops:
        if not (ROOT / file).exists():
            raise ValueError(f'{file}, on the way of {name}, does not exist')
        y = places[package][0] + 17 + LINE * seen.setdefault(package, 0)
        seen[package] += 1
        ys.append(y)
        short = (
            file.removeprefix('ssn_mm/').removeprefix(f'{package}/').removesuffix('/__init__.py')
        )
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="5" fill="white" stroke="{colour}" stroke-width="2.5"/>'
            f'<text x="{x + 14}" y="{y + 5}">{escape(short)}'
            f'<tspan dx="8" fill="#555">{escape(says)}</tspan></text>'
        )
    head = (
        f'<text x="{x - 6}" y="32" font-size="15" font-weight="bold" fill="{colour}">{name}</text>'
    )
    line = f'<path d="M{x} {ys[0]}V{ys[-1]}" stroke="{colour}" stroke-width="2.5"/>'
    return '\n'.join([head, line, *parts])


if __name__ == '__main__':
    main()
