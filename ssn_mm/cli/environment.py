"""What the tools need to be installed: told with the command that mends it, before it fails."""

from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from ..commands import pip_install, pip_uninstall

# distributions that write into one folder: upstream's, and those of its maintained fork
OWNERS = {
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'mmcv-lite', 'mmcv-full', 'onedl-mmcv'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
}
# packages of Debian, Fedora and conda-forge that hold a library which OpenCV's full build loads
_SYSTEM = {
    'libxcb': ('libxcb1', 'libxcb', 'libxcb'),
    'libGL': ('libgl1', 'mesa-libGL', 'libgl'),
    'libgthread-2.0': ('libglib2.0-0', 'glib2', 'glib'),
    'libSM': ('libsm6', 'libSM', 'xorg-libsm'),
    'libXext': ('libxext6', 'libXext', 'xorg-libxext'),
}


def check_environment() -> None:
    """Checks what every tool imports.

    Raises:
        ImportError: OpenMMLab is not installed, or setuptools, which it needs; two distributions
            own one of its packages; a package is older than this one's metadata allows; or a system
            library is missing that OpenCV loads. Says the command that mends it.
    """
    _check_owners()
    if not find_spec('mmengine'):
        raise ImportError(
            f'the tools need OpenMMLab: {pip_install("ssn-mm[openmmlab,lite]")}, or its maintained '
            f'fork: {pip_install("ssn-mm[onedl]")}'
        )
    if not find_spec('distutils'):
        raise ImportError(
            'mmengine imports distutils, which Python has no more from 3.12 on and setuptools '
            f'brings: {pip_install("setuptools")}'
        )
    _check_age()
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise ImportError(_mend_opencv(error)) from error


def _check_owners() -> None:
    there = {package: [d for d in owners if _version(d)] for package, owners in OWNERS.items()}
    twice = {package: found for package, found in there.items() if len(found) > 1}
    if not twice:
        return
    told = '; '.join(f'{" and ".join(found)} own {package}' for package, found in twice.items())
    removed = [distribution for found in twice.values() for distribution in found]
    commands = [pip_install(*row) for row in zip(*twice.values(), strict=False)]
    raise ImportError(
        f'two distributions have written into one folder: {told}. Remove them, then install those '
        f'of one family again:\n    {pip_uninstall(*removed)}\n    '
        + '    # or\n    '.join(commands)
    )


def _check_age() -> None:
    from packaging.requirements import Requirement  # which mmcv depends on

    try:
        needed = [Requirement(text) for text in requires('ssn-mm') or ()]
    except PackageNotFoundError:  # a checkout on the path
        return
    old = {}
    for requirement in needed:
        there = _version(requirement.name)
        least = [bound for bound in requirement.specifier if bound.operator == '>=']
        if there and not all(bound.contains(there, prereleases=True) for bound in least):
            old[requirement.name] = (there, str(requirement.specifier))
    if old:
        told = ', '.join(f'{name} {there}' for name, (there, _) in old.items())
        commands = pip_install(*(f'{name}{bounds}' for name, (_, bounds) in old.items()))
        raise ImportError(f'too old for ssn_mm: {told}. Install later versions:\n    {commands}')


def _mend_opencv(error: ImportError) -> str:
    missing = str(error).partition(':')[0]
    known = [names for library, names in _SYSTEM.items() if missing.startswith(f'{library}.so')]
    if not known:
        return f'OpenCV cannot be loaded: {error}. Install it: {pip_install("opencv-python")}'
    debian, fedora, conda = (' '.join(names) for names in zip(*_SYSTEM.values(), strict=True))
    headless = pip_install('--force-reinstall', '--no-deps', 'opencv-python-headless')
    return (
        f"OpenCV cannot be loaded, since the system's library {missing} is missing. Install it "
        f'and what comes with it:\n'
        f'    apt-get install {debian}    # Debian, Ubuntu\n'
        f'    dnf install {fedora}    # Fedora\n'
        f'    conda install -c conda-forge {conda}\n'
        'or put the build of OpenCV without windows in its place, which needs none of them:\n'
        f'    {pip_uninstall("opencv-python", "opencv-contrib-python")}\n'
        f'    {headless}'
    )


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ''
