"""What source files define, wherever it stands and however it is written.

A file that was moved, a module that was renamed, imports, docstrings, comments and formatting make
no difference. Which of two definitions of one name an import means is not seen.
"""

import ast
import re
from collections.abc import Iterator
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


def contents(file: Path, package: Path) -> Iterator[str]:
    """The definitions of a Python file one by one, or all that another source file says.

    Args:
        file: A source of Python, C or C++.
        package: The folder of the package that it belongs to, or the file itself if it is a module
            of its own. Where modules lie in it makes no difference.
    """
    text = file.read_text('utf-8', 'replace')
    try:
        tree = ast.parse(text) if file.suffix == '.py' else None
    except SyntaxError:
        tree = None
    if tree is None:
        yield ' '.join(m[0] for m in _TOKENS.finditer(text) if m['left_out'] is None)
        return
    writer = _Writer(file.relative_to(package.parent).parent.parts, _modules(package))
    writer.read_imports(tree)
    for statement in _statements(tree.body):
        yield writer.text(statement)


@cache
def _modules(package: Path) -> frozenset[str]:
    """Dotted names of a package and all its modules."""
    files = package.rglob('*.py') if package.is_dir() else [package]
    places = (file.relative_to(package.parent).with_suffix('').parts for file in files)
    return frozenset('.'.join(parts).removesuffix('.__init__') for parts in places)


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
    """Nodes of one file as text."""

    def __init__(self, folder: tuple[str, ...], modules: frozenset[str]) -> None:
        self._folder, self._modules = folder, modules
        # what imports bind, by the last part of what it stands for; '' for modules of the package
        self._names: dict[str, str] = {}

    def read_imports(self, tree: ast.Module) -> None:
        """Takes note of all imports of the file, so that their lines make no difference."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.asname:
                        self._bind(alias.asname, alias.name)
            elif isinstance(node, ast.ImportFrom):
                base = self._folder[: len(self._folder) - node.level + 1] if node.level else ()
                module = '.'.join([*base, *([node.module] if node.module else [])])
                for alias in node.names:
                    self._bind(alias.asname or alias.name, f'{module}.{alias.name}')

    def _bind(self, name: str, target: str) -> None:
        self._names[name] = '' if target in self._modules else target.rpartition('.')[2]

    def text(self, node: Any) -> str:
        """A node as text, the same in each version of Python: without places and what is empty."""
        if isinstance(node, list):
            own = _statements(node) if node and isinstance(node[0], ast.stmt) else node
            return f'[{" ".join(map(self.text, own))}]'
        if isinstance(node, ast.Constant):
            return repr(self._without_module(node.value))
        if isinstance(node, ast.Name):
            return self._names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            of = self.text(node.value)  # '' of a module of the package
            return f'{of}.{node.attr}' if of else node.attr
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
