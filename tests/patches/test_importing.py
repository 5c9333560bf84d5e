"""Patches of modules that may be imported later."""

import importlib
import sys
from importlib.util import find_spec

import pytest

from ssn_mm import patches
from ssn_mm.patches.importing import after_import, before_import


def write_package(root, monkeypatch, name):
    (root / name).mkdir()
    (root / name / '__init__.py').touch()
    (root / name / 'part.py').write_text('value = 1\n')
    monkeypatch.syspath_prepend(str(root))


def test_every_patch_is_made_once_and_as_soon_as_its_module_is_imported(tmp_path, monkeypatch):
    write_package(tmp_path, monkeypatch, 'late_package')
    seen = []

    def look(module):
        seen.append(module.value)

    after_import({'late_package.part': look})
    after_import({'late_package.part': lambda module: setattr(module, 'value', 2)})
    importlib.import_module('late_package')
    assert seen == []
    part = importlib.import_module('late_package.part')
    assert (seen, part.value) == ([1], 2)
    after_import({'late_package.part': look})
    assert seen == [1]
    for name in ('late_package', 'late_package.part'):
        del sys.modules[name]
    assert importlib.import_module('late_package.part').value == 1  # was patched, and is no more


def test_a_patch_survives_that_its_module_is_looked_for_and_not_imported(tmp_path, monkeypatch):
    write_package(tmp_path, monkeypatch, 'asked_package')
    seen = []
    before_import({'asked_package.part': lambda: seen.append('before')})
    after_import({'asked_package.part': lambda module: seen.append(module.value)})
    assert find_spec('asked_package.part')
    assert seen == []
    importlib.import_module('asked_package.part')
    assert seen == ['before', 1]


def test_a_package_that_another_finder_finds_is_patched_as_editable_ones_are(tmp_path, monkeypatch):
    (tmp_path / 'mapped.py').write_text('value = 1\n')

    class Editable:
        def find_spec(self, name, path, target=None):
            if name == 'mapped_package':
                file = tmp_path / 'mapped.py'
                return importlib.util.spec_from_file_location(name, file)
            return None

    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path, Editable()])
    after_import({'mapped_package': lambda module: setattr(module, 'value', 2)})
    assert importlib.import_module('mapped_package').value == 2


def test_packages_that_are_not_installed_are_passed_over():
    after_import({'no_such_package.part': print})
    assert 'no_such_package' not in sys.modules


def test_patches_may_be_asked_for_any_number_of_times():
    import mmcv

    first = mmcv.adjust_hue
    patches.apply()
    assert mmcv.adjust_hue is first is mmcv.image.adjust_hue


@pytest.mark.mmaction
def test_a_patch_waits_for_its_library_and_is_made_where_the_library_came_first(fresh_python):
    assert fresh_python("""
        import ssn_mm
        from ssn_mm.patches.importing import _finder

        backbones = 'mmaction.models.backbones.'
        waited = [name for name in sys.modules if name.startswith('mmaction')]
        del _finder.after[f'{backbones}resnet']  # as if mmaction2 had been imported before
        from mmaction.models.backbones import resnet, resnet3d

        def places():
            return [resnet3d.ResNet3d._inflate_weights.__module__,
                    resnet.ResNet._load_torchvision_checkpoint.__module__]

        before = places()
        ssn_mm.patches.apply()
        print(json.dumps([waited, before, places()]))
    """) == [
        [],
        ['ssn_mm.patches.mmaction', 'mmaction.models.backbones.resnet'],
        ['ssn_mm.patches.mmaction'] * 2,
    ]


def test_a_full_mmcv_and_a_whole_mmaction_are_left_alone(tmp_path, fresh_python):
    for file in (
        *('mmcv/__init__.py', 'mmcv/_ext.py', 'mmcv/utils/__init__.py', 'mmcv/utils/ext_loader.py'),
        *('mmaction/__init__.py', 'mmaction/models/localizers/drn/drn.py'),
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    seen = fresh_python(
        """
        import ssn_mm
        own = [name for name in sys.modules if name.startswith(('mmcv', 'mmaction'))]
        import mmaction, mmcv.utils.ext_loader
        loader = hasattr(mmcv.utils.ext_loader, 'load_ext')
        drn = 'mmaction.models.localizers.drn.drn' in sys.modules
        print(json.dumps([own, drn, loader]))
        """,
        tmp_path,
    )
    assert seen == [[], False, False]


@pytest.mark.mmaction
def test_every_library_imports_and_registers():
    for library in ('mmseg', 'mmaction', 'mmpretrain'):
        for part in ('models', 'apis', 'registry'):
            importlib.import_module(f'{library}.{part}')
        importlib.import_module(f'{library}.utils').register_all_modules()
