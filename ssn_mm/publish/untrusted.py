"""Keeps an untrusted config from running or fetching anything while its network is built."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.config import Config
from mmengine.registry import registry
from mmengine.runner import CheckpointLoader

from ..config_files import entries

SCOPES = ('mmpretrain', 'mmseg', 'mmaction')
_KNOWN = (*SCOPES, 'mmengine', 'mmcv')
# registered classes that take what they are from elsewhere, or hand on what they are given
_FETCHING = (
    'transformers', 'huggingface_hub', 'timm', 'open_clip', 'clip', 'diffusers', 'ldm',
    'mmpretrain.models.classifiers.hugging_face', 'mmpretrain.models.classifiers.timm',
    'mmpretrain.models.backbones.timm_backbone', 'mmpretrain.models.multimodal',
    'mmpretrain.models.retrievers', 'mmpretrain.models.utils.huggingface',
    'mmpretrain.models.utils.tokenizer', 'mmpretrain.utils.dependency',
    'mmseg.models.backbones.timm_backbone', 'mmseg.models.backbones.vpd',
    'mmaction.models.multimodal', 'mmaction.models.similarity', 'mmaction.utils.dependency',
)  # fmt: skip
_RUNNING = ('pkl', 'pickle', 'yml', 'yaml')  # formats in which mmengine.load runs code
_TRUST = 'if you trust it as you trust a program, pass trust=True'


def check_untrusted(cfg: Config, imports: list[str]) -> None:
    """Refuses a config that asks for more than registered classes and plain arguments.

    Raises:
        ValueError: The config imports modules besides this package's; names a function by its
            path; asks to trust remote code; or names a file of a format that may hold code.
    """
    foreign = [name for name in imports if name.split('.')[0] != 'ssn_mm']
    if foreign:
        raise ValueError(
            f'the config imports {", ".join(map(repr, foreign))}, whose code would run; if you '
            'trust it as you trust a program, pass trust=True, or the config itself (--config)'
        )
    scope = cfg.get('default_scope', 'mmengine')
    if scope not in _KNOWN:
        raise ValueError(f'default_scope must be one of {", ".join(_KNOWN)}, got {scope!r}')
    for key, value in entries(cfg.model):
        if key in ('type', '_scope_'):
            _check_name(key, value)
        elif key == 'trust_remote_code':
            raise ValueError(f'the config has {key}={value!r}; {_TRUST}')
        elif isinstance(value, str) and value.endswith(_RUNNING):
            raise ValueError(f'the config has {key}={value!r}, a file that may hold code; {_TRUST}')


def _check_name(key: str, value: Any) -> None:
    scope, dot, name = str(value).rpartition('.')
    wrong = value not in _KNOWN if key == '_scope_' else dot and scope not in _KNOWN
    if wrong or (key == 'type' and not name.isidentifier()):
        raise ValueError(
            f'the config has {key}={value!r}, which could be any function of any module; {_TRUST}'
        )


@contextmanager
def registered_classes_alone() -> Iterator[None]:
    """Lets registries give classes that fetch nothing, and no checkpoint be read.

    mmengine takes a ``type`` that no registry has for the path of any function, and calls it.
    Some registered classes wrap other libraries (transformers, timm, ...): these download, and run
    what they download, by arguments that they hand on; some read ``pretrained`` as they are built.
    """
    own, get = registry.get_object_from_string, registry.Registry.get
    load = vars(CheckpointLoader)['load_checkpoint']

    def get_registered(self: Any, key: str) -> Any:
        found = get(self, key)
        module = str(getattr(found, '__module__', ''))
        if any(f'{module}.'.startswith(f'{name}.') for name in _FETCHING):
            raise ValueError(
                f'the config has type={key!r}, which takes a network or data from elsewhere; '
                f'{_TRUST}'
            )
        return found

    def refuse(filename: str, *_: Any, **__: Any) -> None:
        raise ValueError(f'the config reads {filename!r} as it is built; {_TRUST}')

    registry.get_object_from_string = lambda name: None
    registry.Registry.get = get_registered
    CheckpointLoader.load_checkpoint = staticmethod(refuse)
    try:
        yield
    finally:
        registry.get_object_from_string, registry.Registry.get = own, get
        CheckpointLoader.load_checkpoint = load
