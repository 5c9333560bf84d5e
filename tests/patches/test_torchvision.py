"""torchvision beside a PyTorch that its wheel was, or was not, built for."""

import importlib.machinery

import pytest
import torch
import torchvision

from ssn_mm.patches.torchvision import _libraries


def test_nms_raises_what_is_missing_where_only_its_schema_is_there():
    if not _libraries:
        pytest.skip("torchvision's extension loads beside this PyTorch")
    boxes = torch.rand(3, 4), torch.rand(3), 0.5
    with pytest.raises(RuntimeError, match="Couldn't load custom C\\+\\+ ops"):
        torchvision.ops.nms(*boxes)
    with pytest.raises(NotImplementedError, match="Could not run 'torchvision::nms'"):
        torch.ops.torchvision.nms(*boxes)


@pytest.mark.parametrize(
    ('name', 'code'),
    [
        ('_C', 'lib_path = _get_extension_path("_C")'),  # to 0.21
        ('_C', 'if _load_library("_C"):'),
        ('_C_stable', 'if _load_library("_C_stable"):'),  # from 0.29
    ],
)
def test_a_torchvision_whose_extension_loads_is_left_alone(tmp_path, fresh_python, name, code):
    (tmp_path / 'torchvision').mkdir()
    (tmp_path / 'torchvision/__init__.py').touch()
    (tmp_path / 'torchvision/extension.py').write_text(f'def _load_library(lib_name):\n{code}')
    suffix = importlib.machinery.EXTENSION_SUFFIXES[-1]
    (tmp_path / f'torchvision/{name}{suffix}').symlink_to(torch._C.__file__)
    seen = fresh_python(
        """
        import torch, ssn_mm
        from ssn_mm.patches.torchvision import define_nms
        done = ['torchvision' in sys.modules, define_nms()]
        import torchvision
        print(json.dumps([*done, hasattr(torch.ops.torchvision, 'nms')]))
        """,
        tmp_path,
    )
    assert seen == [False, False, False]


def test_torchvision_imports_without_openmmlab_and_is_left_alone_once_it_has_its_ops(fresh_python):
    seen = fresh_python("""
        import importlib.util as u
        find, hidden = u.find_spec, ('mmengine', 'mmcv', 'mmseg', 'mmaction', 'mmpretrain')
        u.find_spec = lambda n, *a: None if n.partition('.')[0] in hidden else find(n, *a)
        import ssn_mm
        import torchvision
        from ssn_mm.patches.torchvision import define_nms
        print(json.dumps([[name for name in hidden if name in sys.modules], define_nms()]))
    """)
    assert seen == [[], False]


def test_ops_that_are_defined_already_are_left_alone(fresh_python):
    assert not fresh_python("""
        import torch
        library = torch.library.Library('torchvision', 'DEF')
        for op in ('nms', 'qnms'):
            library.define(f'{op}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        from ssn_mm.patches.torchvision import define_nms
        print(json.dumps(define_nms()))
    """)


def test_a_torchvision_that_fails_all_the_same_is_told_with_the_one_to_install(
    tmp_path, fresh_python
):
    (tmp_path / 'torchvision').mkdir()
    init = tmp_path / 'torchvision/__init__.py'
    init.write_text("raise RuntimeError('operator torchvision::roi_align does not exist')")
    told = fresh_python(
        """
        import ssn_mm, torch
        torch.__version__ = '2.13.0+cpu'
        try:
            import torchvision
        except ImportError as error:
            print(json.dumps([str(error), type(error.__cause__).__name__]))
        """,
        tmp_path,
    )
    assert told[1] == 'RuntimeError'
    assert 'cannot be imported beside torch 2.13.0+cpu (RuntimeError: operator' in told[0]
    assert 'Of the same release is torchvision 0.28: ' in told[0]
    assert told[0].endswith("-m pip install 'torchvision==0.28.*'")
