"""What source files define, wherever it stands and however it is written.

A file that was moved, a module that was renamed, imports, docstrings, comments and formatting make
no difference. A name that is imported from the package stands with a hash of its definition, so
that another definition of the same name does.
"""

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

# a comment, or an include of a file of ours; a text or character; a word; any other character
_TOKENS = re.compile(
    r'(?P<left_out>//[^\n]*|/\*.*?\*/|\#include\s+"[^"]*")'
    r"""|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|\w+|[^\w\s]""",
    re.DOTALL,
)
_FOR_PEOPLE = ('__all__', '__getattr__')  # which names a module shows, and which it had


def definitions(file: Path, package: Path) -> Iterator[str]:
    """The definitions of a Python file one by one, or all that another source file says.

    Args:
        file: A source of Python, C or C++.
        package: The folder of the package that it belongs to, or the file itself if it is a module
            of its own. Where modules lie in it makes no difference.
    """
    tree = _parsed(file)
    if tree is None:
        words = _TOKENS.finditer(file.read_text('utf-8', 'replace'))
        yield ' '.join(word[0] for word in words if word['left_out'] is None)
        return
    writer = _Writer(file, package)
    writer.read_imports(tree)
    for statement in _statements(tree.body):
        yield writer.text(statement)


def _parsed(file: Path) -> ast.Module | None:
    """The syntax tree of a Python file; None of another one, or a broken one."""
    try:
        return ast.parse(file.read_text('utf-8', 'replace')) if file.suffix == '.py' else None
    except SyntaxError:
        return None


@cache
def _modules(package: Path) -> Mapping[str, Path]:
    """The files of a package by the dotted names of its modules."""
    files = package.rglob('*.py') if package.is_dir() else [package]
    found = {}
    for file in files:
        parts = file.relative_to(package.parent).with_suffix('').parts
        found['.'.join(parts).removesuffix('.__init__')] = file
    return found


def _definition(package: Path, target: str) -> str:
    """A hash of the definition that a dotted name of a package leads to; '' if it has none."""
    seen = set()
    while target and target not in seen:
        seen.add(target)
        module, _, name = target.rpartition('.')
        if module not in _modules(package):
            return ''
        hashes, targets = _module(package, module)
        if name in hashes:
            return hashes[name]
        target = targets.get(name, '')
    return ''


@cache
def _module(package: Path, module: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Hashes of the definitions in a module, and what its imports bind, both by name."""
    file = _modules(package)[module]
    tree = _parsed(file)
    if tree is None:
        return {}, {}
    writer = _Writer(file, package, plain=True)
    writer.read_imports(tree)
    hashes: dict[str, str] = {}
    for node in _statements(tree.body):
        stated = getattr(node, 'targets', [getattr(node, 'target', node)])
        for name in (getattr(to, 'name', getattr(to, 'id', '')) for to in stated):
            text = hashes.get(name, '') + writer.text(node)
            hashes[name] = hashlib.sha256(text.encode()).hexdigest()[:12]
    return hashes, writer.targets


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements that are executed for what they do: no imports and texts, nothing for people."""
    return [node for node in body if not _is_silent(node)]


def _is_silent(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    if isinstance(node, ast.Assign):
        return all(isinstance(to, ast.Name) and to.id in _FOR_PEOPLE for to in node.targets)
    if isinstance(node, ast.If):  # if TYPE_CHECKING
        return not node.orelse and all(map(_is_silent, node.body))
    return isinstance(node, ast.Import | ast.ImportFrom)


class _Writer:
    """Writes nodes of a file as text.

    Args:
        file: The file.
        package: The package that it belongs to.
        plain: Whether imported names stand without hashes of their definitions.

    Attributes:
        targets: What imports bind, as dotted names.
    """

    def __init__(self, file: Path, package: Path, plain: bool = False) -> None:
        self._folder = file.relative_to(package.parent).parent.parts
        self._package, self._plain = package, plain
        self._modules = _modules(package)
        self.targets: dict[str, str] = {}

    def read_imports(self, tree: ast.Module) -> None:
        """Takes note of all imports of the file."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                self.targets |= {a.asname: a.name for a in node.names if a.asname}
            elif isinstance(node, ast.ImportFrom):
                base = self._folder[: len(self._folder) - node.level + 1] if node.level else ()
                module = '.'.join([*base, *([node.module] if node.module else [])])
                self.targets |= {a.asname or a.name: f'{module}.{a.name}' for a in node.names}

    def _name(self, target: str) -> str:
        """What stands for a dotted name: its last part, and a hash of what it leads to."""
        found = '' if self._plain else _definition(self._package, target)
        name = target.rpartition('.')[2]
        return f'{name}@{found}' if found else name

    def _module_of(self, node: ast.expr) -> str:
        """The module of the package that an expression names; '' if it names something else."""
        full = ''
        if isinstance(node, ast.Name):
            full = self.targets.get(node.id, '')
        elif isinstance(node, ast.Attribute) and (outer := self._module_of(node.value)):
            full = f'{outer}.{node.attr}'
        return full if full in self._modules else ''

    def text(self, node: Any) -> str:
        """A node as text, the same in each version of Python: without places and what is empty."""
        if isinstance(node, list):
            own = _statements(node) if node and isinstance(node[0], ast.stmt) else node
            return f'[{" ".join(map(self.text, own))}]'
        if isinstance(node, ast.Constant):
            return repr(self._without_module(node.value))
        if isinstance(node, ast.Name | ast.Attribute) and self._module_of(node):
            return ''
        if isinstance(node, ast.Name):
            return self._name(self.targets[node.id]) if node.id in self.targets else node.id
        if isinstance(node, ast.Attribute):
            module = self._module_of(node.value)
            attribute = f'{self.text(node.value)}.{node.attr}'
            return self._name(f'{module}.{node.attr}') if module else attribute
        if not isinstance(node, ast.AST):
            return repr(node)
        parts = [
            f'{key}={self.text(value)}'
            for key, value in ast.iter_fields(node)
            if key not in ('ctx', 'type_comment') and value is not None and value != []
        ]
        return f'{type(node).__name__}({" ".join(parts)})'

    def _without_module(self, value: Any) -> Any:
        """A text that names a module of the package, or something in it, without the module."""
        if not isinstance(value, str) or not re.fullmatch(r'\w+(\.\w+)+', value):
            return value
        root = f'{self._folder[0]}.' if self._folder else ''
        parts = (value if value.startswith(root) else root + value).split('.')
        for count in range(len(parts), 1, -1):
            if '.'.join(parts[:count]) in self._modules:
                return '.'.join(parts[count:])
        return value
