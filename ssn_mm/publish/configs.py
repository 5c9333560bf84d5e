"""Configs as plain data: untrusted ones are read without running anything of theirs."""

import ast
import copy
import json
import re
from contextlib import nullcontext, suppress
from importlib import import_module
from pathlib import Path, PureWindowsPath
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from ..config_files import check_parts
from ..datasets.nested import scope_of
from .untrusted import check_untrusted, registered_classes_alone

_OWN = ('work_dir', 'load_from', 'resume', 'launcher')  # of the author's machine and run


def plain_config(cfg: Config) -> dict[str, Any]:
    """A config as JSON has it, with lists for tuples, and without what belongs to one run.

    Of absolute paths (``data_root='/home/me/data/ade'``, ``pretrained``, ``checkpoint``), which
    name the author's machine and are nowhere else, the last part stays ('ade'); relative paths,
    URLs and all else stay as they are.

    Raises:
        ValueError: It holds something that JSON cannot say.
    """
    content = {key: value for key, value in cfg.to_dict().items() if key not in _OWN}
    try:
        return _without_machine(json.loads(json.dumps(content)))
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
        raise ValueError(f'{path} holds a {type(content).__name__}, expected an object')
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
        trust: Whether to import the modules that ``custom_imports`` names, and to call what a
            ``type`` names by a path, which may be any function: only for configs that are trusted
            as a program is.

    Raises:
        ValueError: There is no model, or ``custom_imports`` lists no modules; or, without
            ``trust``, the config asks for more than registered classes, for modules besides this
            package's, or for what comes from elsewhere (transformers', timm's networks).
    """
    imports, may_fail = _imports(cfg)
    check_parts(cfg)
    if not trust:
        check_untrusted(cfg, imports)
    for name in imports:
        with suppress(ImportError) if may_fail else nullcontext():
            import_module(name)
    init_default_scope(scope_of(cfg))
    model = copy.deepcopy(cfg.model)  # building takes entries out
    if cfg.get('data_preprocessor') is not None:  # mmengine's Runner gives it to the model
        model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    try:
        with nullcontext() if trust else registered_classes_alone():
            network = MODELS.build(model)
    except KeyError as error:
        raise ValueError(f"the config's network cannot be built: {error}") from error
    network.eval()
    return network


def _imports(cfg: Config) -> tuple[list[str], bool]:
    """The modules that ``custom_imports`` names, and whether one that is not there is left out."""
    stated = cfg.get('custom_imports') or {}
    imports = stated.get('imports') or [] if isinstance(stated, dict) else stated
    imports = [imports] if isinstance(imports, str) else imports
    if not isinstance(imports, list | tuple) or not all(isinstance(n, str) for n in imports):
        raise ValueError(f'custom_imports.imports is a list of names of modules, got {imports!r}')
    may_fail = isinstance(stated, dict) and bool(stated.get('allow_failed_imports'))
    return list(imports), may_fail


def _without_machine(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_machine(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_machine(child) for child in node]
    if isinstance(node, str) and re.match(r'[/~\\]|file://|[A-Za-z]:[/\\]', node):
        return PureWindowsPath(node).name or '.'  # which knows both kinds of slashes
    return node


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
