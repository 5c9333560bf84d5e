"""Makes the package's types known to OpenMMLab: `type='SSN'` resolves from every MM library.

Layers, which need PyTorch alone, are registered at once. The rest is registered by its place, and
imported when a config names it, so that `import ssn_mm` loads nothing that `import mmengine` does
not.
"""

from importlib import import_module
from typing import Any

from mmengine.fileio import register_backend
from mmengine.registry import (
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    WEIGHT_INITIALIZERS,
    Registry,
)

from .contestants.neighbours import arrange_built
from .contestants.registry import import_shipped
from .engine.atomic_backend import AtomicBackend
from .layers import SN, SSN, SyncSSN
from .patches.building import after_build
from .patches.importing import after_import

# in mmengine's root registries, to which those of the libraries fall back
PLACES = {
    HOOKS: {
        'SSNRadiusHook': 'engine.hooks.radius_hook',
        'RatiosHook': 'engine.hooks.ratios_hook',
        'RatiosFigureHook': 'visualization.ratios_figure_hook',
        'ReliabilityHook': 'engine.hooks.reliability_hook',
        'SyncStatisticsHook': 'engine.hooks.sync_statistics_hook',
        'PreciseStatsHook': 'engine.hooks.precise_stats_hook',
        'RetrainHook': 'engine.hooks.retrain_hook',
        'FiniteCheckHook': 'engine.hooks.finite_check_hook',
    },
    MODELS: {
        **dict.fromkeys(
            ('AuthorsResNet', 'PublishedResNet', 'NonLocalResNet3d', 'AuthorsClsHead'),
            'weights.authors_networks',
        ),
        'EfficientNetLite0': 'weights.efficientnet_lite0',
    },
    DATASETS: {'SolarCells': 'datasets.solar_cells'},
    METRICS: {'TwoClassMetric': 'engine.two_class_metric'},
    OPTIM_WRAPPERS: {'CPUAmpOptimWrapper': 'engine.optimizers.cpu_amp_optim_wrapper'},
    OPTIM_WRAPPER_CONSTRUCTORS: {
        'SSNOptimWrapperConstructor': 'engine.optimizers.optim_wrapper_constructor'
    },
}


class _Place(str):
    """The name of a module of this package, which stands for the class that the module holds."""


class _Modules(dict):
    """A registry's classes by name, some of them by their place until they are asked for."""

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if isinstance(found, _Place):
            found = self[name] = getattr(import_module(f'{__package__}.{found}'), name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else default  # noqa: SIM401, which is this method

    def values(self) -> Any:
        return [self[name] for name in self]

    def items(self) -> Any:
        return [(name, self[name]) for name in self]


def register() -> None:
    """Registers the layers, hooks, optimizers and initializers; `import ssn_mm` calls it."""
    for module in (SSN, SyncSSN, SN):
        MODELS.register_module(module=module, force=True)
    import_shipped()  # each of the norms registers its type
    after_build(arrange_built)
    for registry, places in PLACES.items():
        _register_places(registry, places)
    # mmengine's own of this name is registered first, and refuses a second
    after_import(
        {
            'mmengine.model.weight_init': lambda _: _register_places(
                WEIGHT_INITIALIZERS, {'Pretrained': 'weights.pretrained'}
            )
        }
    )
    register_backend('atomic', AtomicBackend, force=True)


def _register_places(registry: Registry, places: dict[str, str]) -> None:
    if not isinstance(registry._module_dict, _Modules):
        registry._module_dict = _Modules(registry._module_dict)
    registry._module_dict.update({name: _Place(place) for name, place in places.items()})
