"""Configs as plain data: read from strangers without running anything of theirs."""

import ast
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope, registry
from torch import nn

SCOPES = ('mmpretrain', 'mmseg', 'mmaction')
_KNOWN = (*SCOPES, 'mmengine', 'mmcv')
_OWN = ('work_dir', 'load_from', 'resume', 'launcher')  # of the author's machine and run


def plain_config(cfg: Config) -> dict[str, Any]:
    """A config as JSON has it: tuples are lists; without what belongs to one run.

    Raises:
        ValueError: It holds something that JSON cannot say.
    """
    content = {key: value for key, value in cfg.to_dict().items() if key not in _OWN}
    try:
        return json.loads(json.dumps(content))
    except TypeError as error:
        raise ValueError(f'the config is more than plain data: {error}') from error


def read_config(path: str | Path) -> Config:
    """Reads a JSON config as data; unlike ``Config.fromfile``, which imports what it names.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no config '{path}'")
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds {type(content).__name__}, a config is an object')
    return Config(content)


def parse_config(text: str) -> Config:
    """Reads what a training wrote into its checkpoint, Python's assignments, running none of it.

    Raises:
        ValueError: It has more than names, literals and ``dict(...)``.
    """
    content = {}
    try:
        for statement in ast.parse(text).body:
            if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
                raise ValueError(f'line {statement.lineno} is no assignment')
            content[ast.unparse(statement.targets[0])] = _value(statement.value)
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f'the config in the checkpoint cannot be read as data, give --config: {error}'
        ) from error
    return Config(content)


def build_network(cfg: Config, trust: bool = False) -> nn.Module:
    """Builds a config's network, in evaluation.

    Args:
        cfg: The whole config, or its ``default_scope``, ``model`` and ``custom_imports`` alone.
        trust: Import the modules that ``custom_imports`` names, and call what a ``type`` names
            by a path, which may be any function: only for configs trusted as a program is.

    Raises:
        ValueError: Of an untrusted config: it asks for more than registered classes, or for
            modules besides this package's. Of any: there is no model.
    """
    imports = (cfg.get('custom_imports') or {}).get('imports') or []
    imports = [imports] if isinstance(imports, str) else imports
    if 'model' not in cfg:
        raise ValueError('the config has no model')
    if not trust:
        _check_harmless(cfg, imports)
    for name in imports:
        import_module(name)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    try:
        with nullcontext() if trust else _registered_classes_alone():
            return MODELS.build(cfg.model).eval()
    except KeyError as error:
        raise ValueError(f"the config's network cannot be built: {error}") from error


def _check_harmless(cfg: Config, imports: list[str]) -> None:
    foreign = [name for name in imports if name.split('.')[0] != 'ssn_mm']
    if foreign:
        raise ValueError(
            f'the config imports {", ".join(map(repr, foreign))}, whose code would run; if you '
            'trust it as you trust a program, pass trust=True, or the config itself (--config)'
        )
    scope = cfg.get('default_scope', 'mmengine')
    if scope not in _KNOWN:
        raise ValueError(f'default_scope must be one of {", ".join(_KNOWN)}, got {scope!r}')
    for key, value in _entries(cfg.model):
        scope, dot, name = str(value).rpartition('.')
        wrong = value not in _KNOWN if key == '_scope_' else dot and scope not in _KNOWN
        if wrong or (key == 'type' and not name.isidentifier()):
            raise ValueError(
                f'the config has {key}={value!r}, which could be any function of any module; if '
                'you trust it as you trust a program, pass trust=True'
            )


@contextmanager
def _registered_classes_alone() -> Iterator[None]:
    """mmengine takes a ``type`` that no registry has for the path of any function, and calls it."""
    own = registry.get_object_from_string
    registry.get_object_from_string = lambda name: None
    try:
        yield
    finally:
        registry.get_object_from_string = own


def _entries(node: Any) -> Iterator[tuple[str, Any]]:
    """Every ``type`` and ``_scope_`` in nested lists and dicts."""
    if isinstance(node, Mapping):
        yield from ((key, node[key]) for key in ('type', '_scope_') if key in node)
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            yield from _entries(child)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict':
        if node.args or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError(f'line {node.lineno} has dict() of more than names')
        return {str(keyword.arg): _value(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(child) for child in node.elts]
    if isinstance(node, ast.Dict):
        keys = [None if key is None else ast.literal_eval(key) for key in node.keys]
        return dict(zip(keys, map(_value, node.values), strict=True))
    return ast.literal_eval(node)
