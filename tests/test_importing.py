"""Repairs of modules that may be imported later."""

import importlib
import sys

from ssn_mm.importing import after_import


def test_a_repair_is_made_once_its_module_is_imported_and_every_repair_of_it(tmp_path, monkeypatch):
    (tmp_path / 'late_package').mkdir()
    (tmp_path / 'late_package/__init__.py').touch()
    (tmp_path / 'late_package/part.py').write_text('value = 1\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    seen = []
    repairs = {'late_package.part': lambda module: seen.append(module.value)}
    after_import(repairs)
    after_import({'late_package.part': lambda module: setattr(module, 'value', 2)})
    importlib.import_module('late_package')
    assert seen == []
    part = importlib.import_module('late_package.part')
    assert (seen, part.value) == ([1], 2)
    after_import(repairs)
    assert seen == [1, 2]
    for name in ('late_package', 'late_package.part'):
        del sys.modules[name]
    assert importlib.import_module('late_package.part').value == 1  # was repaired, and is no more


def test_packages_that_are_not_installed_are_passed_over():
    after_import({'no_such_package.part': print})
    assert 'no_such_package' not in sys.modules
