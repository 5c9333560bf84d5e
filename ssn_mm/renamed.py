"""Changed names of 0.1: in Python they raise and say the new one, in configs they go on."""

import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

# modules of 0.1 that are elsewhere; packages stand for all that is in them
MOVED = {
    'analysis': 'ssn_mm.suites, ssn_mm.visualization or ssn_mm.timing',
    'apis.run': 'ssn_mm.cli.infer',
    'checkpoints': 'ssn_mm.weights, ssn_mm.publish, ssn_mm.engine.work_dir or ssn_mm.cli.convert',
    'compat': 'ssn_mm.patches',
    'compat_numpy': 'ssn_mm.patches',
    'datasets.check_report': 'ssn_mm.datasets.check.report',
    'datasets.lists': 'ssn_mm.datasets.check.lists',
    'datasets.preflight': 'ssn_mm.datasets.check.preflight',
    'datasets.probes': 'ssn_mm.datasets.check.probes',
    'datasets.sample_check': 'ssn_mm.datasets.check.sample_check',
    'datasets.samples': 'ssn_mm.datasets.nested or ssn_mm.datasets.sample_info',
    'deploy.run': 'ssn_mm.cli.deploy',
    'deploy.undecided': 'ssn_mm.deploy.unselected',
    'engine.batchnorm': 'ssn_mm.engine.norm_settings',
    'engine.draws': 'ssn_mm.engine.data.draws',
    'engine.networks': 'ssn_mm.patches',
    'engine.options': 'ssn_mm.cli.arguments',
    'engine.outputs': 'ssn_mm.cli.outputs',
    'engine.passes': 'ssn_mm.engine.data.passes',
    'engine.precise_stats': 'ssn_mm.engine.recalibration',
    'engine.recalibrate': 'ssn_mm.cli.recalibrate',
    'engine.run': 'ssn_mm.cli.config, ssn_mm.cli.train or ssn_mm.cli.test',
    'engine.samples': 'ssn_mm.engine.data.samples',
    'engine.testing': 'ssn_mm.cli.evaluation_config',
    'engine.tool': 'ssn_mm.cli.tool',
    'engine.training_data': 'ssn_mm.engine.data.training_data',
    'importing': 'ssn_mm.patches.importing',
    'inheritance': 'ssn_mm.shipped',
    'layers.choices': 'ssn_mm.layers.summary',
    'ops.backends.loading': 'ssn_mm.ops.dispatch',
    'ops.backends.update': 'ssn_mm.ops.running_stats',
}
# modules that configs name, by custom_imports or by type, as training has dumped them
IN_CONFIGS = {
    'datasets.classification': 'ssn_mm.datasets.digits.classification',
    'datasets.segmentation': 'ssn_mm.datasets.digits.segmentation',
    'datasets.video': 'ssn_mm.datasets.digits.video',
    'engine.amp': 'ssn_mm.engine.optimizers.cpu_amp_optim_wrapper',
    'engine.finite_check_hook': 'ssn_mm.engine.hooks.finite_check_hook',
    'engine.optim_constructor': 'ssn_mm.engine.optimizers.optim_wrapper_constructor',
    'engine.precise_stats_hook': 'ssn_mm.engine.hooks.precise_stats_hook',
    'engine.radius_hook': 'ssn_mm.engine.hooks.radius_hook',
    'engine.ratios_hook': 'ssn_mm.engine.hooks.ratios_hook',
    'engine.reliability_hook': 'ssn_mm.engine.hooks.reliability_hook',
    'engine.sync_hook': 'ssn_mm.engine.hooks.sync_statistics_hook',
}
# scripts of 0.1 in tools/ that are called otherwise
TOOLS = {'benchmark.py': 'run_suite.py'}
# shipped configs of 0.1 that train by another schedule now, which their names tell
CONFIGS = {
    f'i3d_r50_{norm}_8xb4-32x2-800k_kinetics400.py': f'i3d_r50_{norm}_8xb4-32x2-600k_kinetics400.py'
    for norm in ('bn', 'gn', 'sn', 'ssn1', 'ssn2')
}
_refused: dict[str, str] = {}  # what to say of `from package import old`, by both names


def refuse_renamed(module: str, names: Mapping[str, str]) -> Callable[[str], NoReturn]:
    """The ``__getattr__`` of a module whose names have changed.

    Args:
        module: The module's name.
        names: New names by the old ones.
    """
    told = {name: f'{module}.{name} is now {new}, see CHANGELOG.md' for name, new in names.items()}
    _refused.update({f'{module}.{name}': text for name, text in told.items()})

    def refuse(name: str) -> NoReturn:
        raise AttributeError(told.get(name, f'module {module!r} has no attribute {name!r}'))

    return refuse


def refuse_moved() -> None:
    """Has the import of a module that has moved say where it is; modules of configs are found."""
    if not any(isinstance(finder, _MovedFinder) for finder in sys.meta_path):
        sys.meta_path.append(_MovedFinder())  # asked for what no other finds


def selection_of(choices: str | None) -> str | None:
    """Translates the option ``choices`` of a config of 0.1 into ``selection``; None stays None."""
    if choices is None:
        return None
    selection = 'fix' if choices == 'freeze' else choices
    warnings.warn(f'choices={choices!r} is now selection={selection!r}', stacklevel=3)
    return selection


class _MovedFinder(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        package, _, module = name.partition('.')
        if package != __package__:
            return None
        # `from package import name` comes here too, and would swallow an error of that name's
        if module in MOVED:
            raise ModuleNotFoundError(f'{name} has moved to {MOVED[module]}, see CHANGELOG.md')
        if name in _refused:
            raise ImportError(_refused[name])
        if module in IN_CONFIGS:
            warnings.warn(f'{name} is now {IN_CONFIGS[module]}', stacklevel=2)
            return ModuleSpec(name, _Alias(IN_CONFIGS[module]))
        return None


class _Alias(Loader):
    def __init__(self, name: str) -> None:
        self.name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return import_module(self.name)

    def exec_module(self, module: ModuleType) -> None:
        """It has been executed under its new name."""
