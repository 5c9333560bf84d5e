"""Hooks of mkdocs: pages that lie outside docs/, the API reference, and links into the tree.

Pages are written to be read on GitHub, with links to any file of the repository. The site has the
same pages; a linked file that is no page, such as a module, gets a page that shows its text.
"""

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
OUTSIDE = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'configs/*/README.md']
LINK = re.compile(r'(?<=\]\()(?!\w+:|#)([^)#\s]+)')
FENCES = {'.py': 'python', '.sh': 'bash', '.yml': 'yaml', '.toml': 'toml', '.cff': 'yaml'}


def on_files(files: Files, config: Any) -> Files:
    """Adds pages from outside docs/, the API reference, and the files that pages link to."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            files.append(File(place, str(ROOT), config.site_dir, config.use_directory_urls))
    for name, text in _reference().items():
        files.append(File.generated(config, f'reference/{name}.md', content=text))
    for target in sorted({link for file in files.documentation_pages() for link in _links(file)}):
        if _page(target, files) is None and (ROOT / target).is_file():
            text = _shown(target)
            files.append(File.generated(config, f'source/{target}.md', content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Has links to files of the repository lead to the pages of the site that show them."""
    here = posixpath.dirname(page.file.src_uri)

    def rewrite(match: re.Match) -> str:
        target = _page(_target(page.file, match[0]), files)
        return posixpath.relpath(target, here) if target else match[0]

    return LINK.sub(rewrite, markdown)


def _place(file: File) -> str:
    """A page's path in the repository."""
    if file.src_uri.startswith(('reference/', 'source/')):
        return file.src_uri
    return Path(file.abs_src_path).relative_to(ROOT).as_posix()


def _target(file: File, link: str) -> str:
    """The path in the repository that a page's link leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(_place(file)), link))


def _links(file: File) -> set[str]:
    if file.generated_by:
        return set()
    return {_target(file, link) for link in LINK.findall(file.content_string)}


def _page(target: str, files: Files) -> str | None:
    """The file of the site for a path of the repository, None where there is none."""
    inside = target.removeprefix('docs/')
    places = [inside, f'{inside}/README.md', f'source/{target}.md']
    return next((place for place in places if files.get_file_from_path(place)), None)


def _shown(target: str) -> str:
    """A page with the text of a file."""
    path = ROOT / target
    fence = FENCES.get(path.suffix, 'text')
    text = path.read_text(encoding='utf-8')
    head = '---\nsearch:\n  exclude: true\nhide: [toc]\n---\n'
    return f'{head}# {target}\n\n`````{fence} linenums="1"\n{text}`````\n'


def _reference() -> dict[str, str]:
    """A page for each folder of the package, made of its modules' docstrings."""
    package = ROOT / 'ssn_mm'
    folders = {
        init.parent.name: sorted(init.parent.rglob('*.py'))
        for init in sorted(package.glob('*/__init__.py'))
    }
    pages = {'ssn_mm': _page_of('ssn_mm', sorted(package.glob('*.py')))}
    return pages | {name: _page_of(f'ssn_mm.{name}', paths) for name, paths in folders.items()}


def _page_of(name: str, paths: list[Path]) -> str:
    """The page of a package: what can be imported from it, then its modules by their docstrings."""
    modules = [path.relative_to(ROOT).with_suffix('').parts for path in paths]
    names = sorted('.'.join(parts).removesuffix('.__init__') for parts in modules)
    top = '' if name == 'ssn_mm' else 'members: [], '  # users find all of ssn_mm's on its page
    head = f'# {name}\n\n::: {name}\n    options: {{{top}show_root_heading: false}}\n\n'
    if exports := _exports(name):
        head += f'`from {name} import` {", ".join(exports)}\n\n'
    return head + ''.join(f'::: {module}\n\n' for module in names if module != name)


def _exports(package: str) -> list[str]:
    """Links to the classes and functions that a package hands on from its modules."""
    folder = ROOT.joinpath(*package.split('.'))
    found = []
    for node in ast.parse((folder / '__init__.py').read_text(encoding='utf-8')).body:
        module = folder / f'{getattr(node, "module", None)}.py'
        if isinstance(node, ast.ImportFrom) and node.level == 1 and module.exists():
            text = module.read_text(encoding='utf-8')
            names = [alias.name for alias in node.names]
            names = [name for name in names if re.search(rf'^(class|def) {name}\b', text, re.M)]
            found += [f'[`{name}`][{package}.{node.module}.{name}]' for name in names]
    return found if package != 'ssn_mm' else []
