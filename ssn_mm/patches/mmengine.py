"""What mmengine does not know of SSN, SN and their files, and what torch.load asks of its own."""

import os
from collections.abc import Iterable
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

from ..layers import SwitchNorm, switch_norms
from .batch_norm import WithRunningStatistics
from .building import finish_network, take_conversion
from .importing import after_import

_NUMBERS = ('f8', 'f4', 'i8', 'i4')  # dtypes in HistoryBuffers, and of the best score


def apply() -> None:
    """Makes each patch once its module is imported."""
    after_import(
        {
            'mmengine.utils.package_utils': find_packages,
            'mmengine.fileio.handlers.pickle_handler': read_data_only,
            'mmengine.fileio.handlers.yaml_handler': call_nothing,
            'mmengine.dataset.base_dataset': forget_copies,
            'mmengine.logging': allow_checkpoints,
            'mmengine.config.config': find_own_configs,
            'mmengine.registry.build_functions': finish_networks,
            'mmengine.model.base_module': extend_norm_eval,
            'mmengine.optim.optimizer.optimizer_wrapper': warn_of_accumulation,
            'mmengine.runner.checkpoint': patch_checkpoints,
        }
    )


def find_packages(package_utils: ModuleType) -> None:
    """Has mmengine find packages without ``pkg_resources``, which setuptools 82 removed.

    The maintained fork does so by itself, and is left alone.
    """
    if 'pkg_resources' not in package_utils.is_installed.__code__.co_names:
        return

    def is_installed(package: str) -> bool:
        try:
            return bool(distribution(package))
        except PackageNotFoundError:
            spec = find_spec(package)
            return spec is not None and spec.origin is not None

    def package2module(package: str) -> str:
        names = (distribution(package).read_text('top_level.txt') or '').split()
        if not names:
            raise ValueError(f'can not infer the module name of {package}')
        return names[0]

    def get_installed_path(package: str) -> str:
        spec = find_spec(package) or find_spec(package2module(package))
        if spec is None or spec.origin is None:
            raise RuntimeError(f'{package} is a namespace package, which has no path of its own')
        return str(Path(spec.origin).parent)

    for function in (is_installed, package2module, get_installed_path):
        setattr(package_utils, function.__name__, function)


def read_data_only(pickle_handler: ModuleType) -> None:
    """Has ``mmengine.load`` read data from a pickled file, and run none of its code.

    Datasets read their annotations by it.
    """
    from ..weights import pickles

    def load_from_fileobj(self: Any, file: Any, **kwargs: Any) -> Any:
        return pickles.load(file, **kwargs)

    pickle_handler.PickleHandler.load_from_fileobj = load_from_fileobj


def call_nothing(yaml_handler: ModuleType) -> None:
    """Has ``mmengine.load`` read YAML whose tags call nothing, unless the user trusts it.

    Tuples, complex numbers and names of what is imported already are read.
    """
    own, yaml = yaml_handler.YamlHandler.load_from_fileobj, yaml_handler.yaml
    full = getattr(yaml, 'CFullLoader', yaml.FullLoader)

    def load_from_fileobj(self: Any, file: Any, **kwargs: Any) -> Any:
        if 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ:
            kwargs.setdefault('Loader', full)
        return own(self, file, **kwargs)

    yaml_handler.YamlHandler.load_from_fileobj = load_from_fileobj


def forget_copies(base_dataset: ModuleType) -> None:
    """Has a subset of a dataset consist of copies of that dataset's parts.

    mmengine keeps what all subsets were copied from in one dict, by address. A part that lies
    where an earlier dataset lay becomes that dataset's copy, such as its pipeline.
    """
    own = base_dataset.BaseDataset._copy_without_annotation
    if not isinstance((own.__defaults__ or (None,))[0], dict):
        return

    def copy_without_annotation(self: Any, memo: dict | None = None) -> Any:
        return own(self, {} if memo is None else memo)

    base_dataset.BaseDataset._copy_without_annotation = copy_without_annotation


def allow_checkpoints(logging: ModuleType) -> None:
    """Lets `torch.load` read the checkpoints that mmengine's Runner writes, and no code.

    Since torch 2.6 it reads weights only, and resuming stops at the HistoryBuffer, mmengine's
    training log. That class and the numbers in it are allowed. Two names in such a checkpoint
    would open more, and stand for a narrow function instead: `getattr`, which leads from any
    object to any module, and `numpy.dtype`, whose state can declare bytes to be objects.
    """
    import numpy as np
    import torch

    allowed: list[Any] = [logging.HistoryBuffer, np.ndarray]
    allowed += [type(np.dtype(number)) for number in _NUMBERS]
    allowed.append((partial(_history_statistic, logging.HistoryBuffer), 'builtins.getattr'))
    allowed.append((_number_type, 'numpy.dtype'))
    for value in (np.zeros(1), np.float64(0)):
        rebuild: Any = value.__reduce__()[0]
        for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):  # numpy 1, numpy 2
            allowed.append((rebuild, f'{module}.{rebuild.__name__}'))
    torch.serialization.add_safe_globals(allowed)


def find_own_configs(config: ModuleType) -> None:
    """Lets `_base_ = ['ssn_mm::deeplab_ssn_ade20k.py']` name a config of this package.

    mmengine knows such names for the packages of a list of its own, where a name must have a
    slash, and would look for the types of such a config in registries of that package. And it
    looks for upstream's distributions: of `mmseg::` in mmsegmentation, not in onedl-mmsegmentation.
    """
    own = config.Config._get_cfg_path

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        from ..shipped import OWN, shipped

        package, found, name = cfg_path.partition('::')
        if found and package == OWN:
            return str(shipped(OWN, 'configs', name)), None  # types of default_scope
        try:
            return own(cfg_path, filename)
        except ModuleNotFoundError:
            if not found or not find_spec(package):
                raise
            return str(shipped(package, 'configs', name)), package

    config.Config._get_cfg_path = staticmethod(get_cfg_path)


def finish_networks(build_functions: ModuleType) -> None:
    """Has every network that is built finished, see :mod:`.building`.

    Blocks hard-code what stands around a norm, and a norm that changes it can be known only when
    all is there, before an optimizer or a wrapper takes the parameters.
    """
    own = build_functions.build_from_cfg

    def build_from_cfg(cfg: Any, registry: Any, default_args: Any = None) -> Any:
        stated, options = take_conversion(cfg)
        return finish_network(own(stated, registry, default_args), options)

    vars(build_functions)['build_from_cfg'] = build_from_cfg


def extend_norm_eval(base_module: ModuleType) -> None:
    """Has ``norm_eval``, ``bn_frozen`` and ``partial_bn`` of backbones reach SSN and SN.

    ``BaseModule.train`` is ``nn.Module.train``, which backbones call first; what they add is for
    batch norm alone. ``norm_eval`` stops the running statistics, and BN's part uses them;
    ``bn_frozen`` (CSN) stops γ and β beside it. ``partial_bn`` (TSN's backbone) stops all of these
    from the second layer on. Ratios learn on.
    """
    base: Any = base_module.BaseModule

    def train(self: Any, mode: bool = True) -> Any:
        super(base, self).train(mode)
        layers = [layer for _, layer in switch_norms(self)] if mode else []
        if getattr(self, 'norm_eval', False):
            _stop(layers, affine=getattr(self, 'bn_frozen', False))
        if getattr(self, 'partial_bn', False):
            _stop(layers[1:], affine=True)
        return self

    base.train = train


def warn_of_accumulation(optimizer_wrapper: ModuleType) -> None:
    """Lets an optimizer wrapper that accumulates gradients warn of running statistics of SSN."""

    def has_batch_norm(model: Any) -> bool:
        return any(isinstance(module, WithRunningStatistics) for module in model.modules())

    vars(optimizer_wrapper)['has_batch_norm'] = has_batch_norm


def patch_checkpoints(checkpoint: ModuleType) -> None:
    """Has mmengine's loaders read weights only, and know SSN, SN and .safetensors."""
    load_weights_only(checkpoint)
    load_any_norm(checkpoint)


def load_weights_only(checkpoint: ModuleType) -> None:
    """Has every loader of mmengine read weights only, which run no code.

    The maintained fork (onedl-mmengine) unpickles a local file in full where it holds more than
    weights, and takes what it allowed of its own from PyTorch's list afterwards. PyTorch's
    ``load_url``, which files from the web go through, unpickles in full. A user who trusts a file
    says so by ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD``, as the tools' ``--trust-checkpoint`` does.
    """
    own = checkpoint.load_url

    def load_url(*args: Any, **kwargs: Any) -> Any:
        trusted = 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' in os.environ
        return own(*args, **kwargs | dict(weights_only=not trusted))

    def load(file: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
        import torch

        return torch.load(file, map_location=map_location, weights_only=weights_only)

    vars(checkpoint)['load_url'] = load_url
    if hasattr(checkpoint, '_safe_torch_load'):
        vars(checkpoint)['_safe_torch_load'] = load


def load_any_norm(checkpoint: ModuleType) -> None:
    """Lets mmengine's loaders read .safetensors, and translate between SSN, SN and other norms.

    That is ``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained')`` and the libraries'
    inference. Networks and checkpoints without SSN and SN are loaded as ever.
    """
    own = checkpoint.load_state_dict

    def load_state_dict(
        module: Any, state_dict: Any, strict: bool = False, logger: Any = None
    ) -> None:
        from ..weights.loading import concerns_switch_norms, load_logged

        if concerns_switch_norms(module, state_dict):
            return load_logged(module, state_dict, strict, logger)
        return own(module, state_dict, strict, logger)

    def load_from_safetensors(filename: str, map_location: Any = None, logger: Any = None) -> Any:
        from ..weights.safetensors import load_from_safetensors

        return load_from_safetensors(filename, map_location)

    checkpoint.load_state_dict = load_state_dict  # type: ignore[attr-defined]
    checkpoint.CheckpointLoader.register_scheme(
        r'(?!\w+://).*\.safetensors$', load_from_safetensors, force=True
    )


def _stop(layers: Iterable[SwitchNorm], affine: bool) -> None:
    for layer in layers:
        layer.eval()
        for param in (layer.weight, layer.bias) if affine else ():
            if param is not None:
                param.requires_grad = False


def _history_statistic(buffer: Any, owner: Any, name: str) -> Any:
    """`getattr` for checkpoints, which read HistoryBuffer's statistics and need nothing else."""
    if owner is buffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(buffer, name)
    raise UnpicklingError(f"expected one of HistoryBuffer's statistics, got {name!r} of {owner!r}")


def _number_type(code: str, *_: Any) -> Any:
    """`numpy.dtype` for checkpoints; numpy's own object, which ignores the state it is given."""
    import numpy as np

    if code in _NUMBERS:
        return np.dtype(code)
    raise UnpicklingError(f'expected a number, one of {_NUMBERS}, got numpy dtype {code!r}')
