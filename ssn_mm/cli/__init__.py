"""What each tool does, and what the tools share."""

from importlib.util import find_spec

from ..commands import pip_install

if not find_spec('mmengine'):
    raise ImportError(f'the tools need OpenMMLab: {pip_install("ssn-mm[openmmlab]")}')
