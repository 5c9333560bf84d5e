"""What this package changes in other libraries: one file a library, docs/patches.md lists all.

A patch is made when its library is imported, so that `import ssn_mm` loads none of them, and only
where it is needed. A patch that needs a higher package of this project imports it when it runs.
"""

from . import mmaction, mmcv, mmengine, mmpretrain, mmseg, numpy, scipy, torch, torchvision


def apply() -> None:
    """Has every patch made as soon as its library is imported; `import ssn_mm` calls it."""
    for library in (torch, torchvision, numpy, scipy, mmengine, mmcv, mmseg, mmpretrain, mmaction):
        library.apply()
