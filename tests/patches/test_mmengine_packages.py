"""mmengine finds packages without pkg_resources, which setuptools no longer has."""

HIDDEN = """
    sys.modules['pkg_resources'] = None
    import ssn_mm
    from importlib.metadata import packages_distributions
    from mmengine.config import Config
    from mmengine.utils import get_installed_path, is_installed
    from mmengine.utils.package_utils import package2module
    owner = packages_distributions()['mmseg'][0]
"""


def test_packages_are_found_by_module_or_distribution_where_pkg_resources_is_gone(fresh_python):
    found, paths, module, length = fresh_python(
        HIDDEN
        + """
    import mmseg
    from pathlib import Path
    paths = [get_installed_path(name) for name in ('mmseg', owner)]
    paths = [Path(path).samefile(mmseg.__path__[0]) for path in paths]
    config = Config.fromstring("_base_ = 'mmseg::_base_/models/fcn_r50-d8.py'", '.py')
    found = [is_installed(name) for name in ('mmseg', owner, 'no_such')]
    print(json.dumps([found, paths, package2module(owner), len(config.model)]))
    """
    )
    assert (found, paths, module) == ([True, True, False], [True, True], 'mmseg')
    assert length


def test_what_is_not_installed_raises(fresh_python):
    told = fresh_python(
        HIDDEN
        + """
    told = []
    for function in (get_installed_path, package2module):
        try:
            function('no_such')
        except (ModuleNotFoundError, ValueError) as error:  # the fork's own raises a ValueError
            told.append(str(error))
    print(json.dumps(told))
    """
    )
    assert len(told) == 2
    assert all('no_such' in text for text in told)
