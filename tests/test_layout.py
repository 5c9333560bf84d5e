"""The direction of imports, and what the wheel carries."""

import ast
import importlib
import re
import subprocess
import sys
import textwrap
import zipfile
from importlib import util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# each may import those before it; those of one line are of one level
ORDER = [
    ['needs', 'renamed', 'version'],
    ['ops'],
    ['layers'],
    ['files', 'records', 'commands', 'shipped'],
    ['config_files'],
    ['weights'],
    ['patches'],
    ['timing'],
    ['datasets'],
    ['contestants'],
    ['engine'],
    ['publish'],
    ['deploy'],
    ['apis'],
    ['suites'],
    ['visualization'],
    ['cli'],
    ['registration', '__main__'],
    ['__init__'],
]
LEVEL = {package: level for level, packages in enumerate(ORDER) for package in packages}
FILES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__'): path
    for path in sorted((ROOT / 'ssn_mm').rglob('*.py'))
}


def imports(path):
    """Absolute names of what a file of the package imports, wherever in it."""
    package = path.relative_to(ROOT).with_suffix('').parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            name = '.'.join([*base, *([node.module] if node.module else [])])
            submodules = [f'{name}.{alias.name}' for alias in node.names]
            yield from ([own for own in submodules if own in FILES] or [name])


def package_of(module):
    return [*module.split('.'), '__init__'][1]


@pytest.mark.parametrize('module', FILES)
def test_no_import_runs_upward(module):
    for name in imports(FILES[module]):
        if name.partition('.')[0] == 'ssn_mm' and package_of(name) != package_of(module):
            assert LEVEL[package_of(name)] < LEVEL[package_of(module)], f'{module} imports {name}'


def test_no_files_import_each_other_in_a_circle():
    below = {module: set(imports(path)) & set(FILES) - {module} for module, path in FILES.items()}
    while free := {module for module, names in below.items() if not names}:
        below = {m: names - free for m, names in below.items() if m not in free}
    assert not below


def test_every_module_can_be_imported():
    pytest.importorskip('mmseg')
    apart = {'ssn_mm.__main__'}
    if not util.find_spec('mmaction'):
        apart.add('ssn_mm.datasets.digits.video')
    for module in FILES.keys() - apart:
        importlib.import_module(module)


@pytest.mark.parametrize('folder', ['ops', 'layers'])
def test_ops_and_layers_need_pytorch_alone(folder):
    found = {n.split('.')[0] for f in (ROOT / 'ssn_mm' / folder).rglob('*.py') for n in imports(f)}
    assert 'torch' in found
    extra = {'triton'} if folder == 'ops' else set()  # imported once a GPU's tensor comes
    assert found <= {'torch', 'ssn_mm'} | extra | set(sys.stdlib_module_names)


@pytest.mark.parametrize('folder', ['ops', 'layers'])
def test_tests_of_ops_and_layers_are_collected_with_torch_triton_and_pytest_alone(folder):
    """What needs more is imported behind ``pytest.importorskip`` or an ``if``."""
    files = sorted((ROOT / 'tests' / folder).glob('*.py'))
    assert files
    helpers = {file.stem for file in [*files, *(ROOT / 'tests').glob('helpers/*.py')]}
    packages = {'ssn_mm', 'ssn_mm.ops', 'ssn_mm.layers', 'ssn_mm.deploy'}
    allowed = {'torch', 'pytest', 'references', *sys.stdlib_module_names, *helpers}
    for file in files:
        for node in ast.parse(file.read_text()).body:
            names = [alias.name for alias in getattr(node, 'names', [])]
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            for name in names if isinstance(node, ast.Import | ast.ImportFrom) else []:
                package = '.'.join(name.split('.')[:2]) in packages or name.split('.')[0] in allowed
                skipping = 'importorskip' in file.read_text()
                assert package or skipping, f'{file.relative_to(ROOT)} imports {name}'


@pytest.mark.parametrize('module', ['files', 'commands', 'records', 'renamed'])
def test_what_all_packages_share_needs_the_standard_library_alone(module):
    found = {name.split('.')[0] for name in imports(ROOT / f'ssn_mm/{module}.py')}
    assert found
    assert found <= set(sys.stdlib_module_names)


def test_with_pytorch_alone_layers_train_freeze_and_fold():
    """All else that is installed is hidden but what PyTorch itself requires."""
    code = """
        import sys
        from importlib import util

        allowed = {'ssn_mm', 'torch', 'torchgen', 'functorch', 'mpmath', 'markupsafe'}
        allowed |= {'setuptools', '_distutils_hack', 'sympy', 'networkx', 'jinja2', 'fsspec'}
        allowed |= {'filelock', 'typing_extensions', *sys.stdlib_module_names}

        class Hide:
            def find_spec(self, name, *_):
                top = name.partition('.')[0]
                if top not in allowed and not top.startswith('_'):
                    raise ModuleNotFoundError(name, name=name)

        sys.meta_path.insert(0, Hide())
        find = util.find_spec
        util.find_spec = lambda name, *a: find(name, *a) if name.split('.')[0] in allowed else None

        import torch
        import ssn_mm
        from ssn_mm.deploy import fold, freeze

        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), ssn_mm.SSN(4))
        x = torch.randn(2, 3, 8, 8)
        ssn_mm.set_radius(net, 1.0)
        net(x).sum().backward()
        with torch.no_grad():
            net[1].ratio_logits.copy_(torch.eye(3)[[2, 2]])
        plain = fold(freeze(net.eval()), x)
        print([type(layer).__name__ for layer in plain], 'numpy' in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', textwrap.dedent(code)],
        capture_output=True,
        text=True,
    )
    assert done.stdout == "['Conv2d', 'Identity'] False\n", done.stderr


def test_the_index_of_helpers_names_each():
    folder = ROOT / 'tests/helpers'
    rows = re.findall(r'^\| `(.+)` \|', (folder / 'README.md').read_text(), re.M)
    assert rows == sorted(file.name for file in folder.glob('*.py'))


def test_sizes_stay_readable():
    limits = {'ssn_mm': 300, 'tests': 400, 'configs': 80}
    for folder, limit in limits.items():
        files = list((ROOT / folder).rglob('*.py'))
        assert files
        for file in files:
            most = 400 if file.name.endswith('kernels.py') else limit
            assert len(file.read_text().splitlines()) <= most, file


def test_wheel_and_sdist_build_and_the_wheel_carries_configs_and_tools(wheel_and_sdist):
    wheel, sdist = wheel_and_sdist
    names = set(zipfile.ZipFile(wheel).namelist())
    shipped = [
        p.relative_to(ROOT)
        for folder in ('configs', 'tools')
        for p in (ROOT / folder).rglob('*')
        if p.is_file() and not {'__pycache__', 'benchmarks'} & set(p.parts)
    ]
    assert shipped
    for path in shipped:
        assert f'ssn_mm/.mim/{path.as_posix()}' in names
    assert {'ssn_mm/ops/sparsestmax.py', 'ssn_mm/ops/backends/cpp/switch_norm.cpp'} <= names
    assert 'ssn_mm/publish/model_card.md.j2' in names
    assert not [name for name in names if 'benchmarks' in name or name.startswith('tests')]
    assert sdist.stat().st_size > 10_000
