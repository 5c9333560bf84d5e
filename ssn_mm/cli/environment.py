"""What the tools need to be installed: told with the command that mends it, before it fails."""

import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

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
        ImportError: OpenMMLab is not installed; two distributions own one of its packages; or a
            system library is missing that OpenCV loads. Says the command that mends it.
    """
    _check_owners()
    if not find_spec('mmengine'):
        raise ImportError(
            f'the tools need OpenMMLab: {pip_install("ssn-mm[openmmlab,lite]")}, or its maintained '
            f'fork: {pip_install("ssn-mm[onedl]")}'
        )
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise ImportError(_mend_opencv(error)) from error


def fails_in_a_tool(error: ImportError) -> None:
    """Ends a tool of this package with an error's message; raises it in any other program."""
    main = getattr(sys.modules['__main__'], '__file__', None)
    package = Path(__file__).resolve().parents[1]
    own = (package.with_name('tools'), package / '.mim' / 'tools', package / '__main__.py')
    if main and any(Path(main).resolve().is_relative_to(place) for place in own):
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
    raise error


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
