"""`ssn_mm::` in `_base_`, from a checkout and from the wheel, and classes in lazy-style configs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from ssn_mm.cli.config import load_config
from ssn_mm.shipped import shipped

ROOT = Path(__file__).parents[1]
INHERITING = "_base_ = ['ssn_mm::deeplab_ssn_ade20k.py']\n"


def child(folder, text, name='mine.py'):
    (folder / name).write_text(text)
    return folder / name


def python(code, *arguments, path):
    """What code printed in a fresh interpreter, far from the repository."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code, *map(str, arguments)],
        cwd=Path(arguments[0]).parent,
        env=os.environ | {'PYTHONPATH': str(path)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    'name',
    [
        'deeplab_ssn_ade20k.py',
        'semantic_segmentation/deeplab_r50_gn_8xb2-100k_ade20k-450x450.py',
        'demo/deeplab_ssn_digits.py',
        '_base_/norms/ssn.py',
    ],
)
def test_a_config_elsewhere_inherits_every_entry(tmp_path, name):
    cfg = Config.fromfile(child(tmp_path, f"_base_ = 'ssn_mm::{name}'\nadded = 1\n"))
    inherited = Config.fromfile(ROOT / 'configs' / name).to_dict()
    assert cfg.to_dict() == inherited | {'added': 1}


def test_a_child_overrides_entries_and_sees_those_of_its_base(tmp_path):
    text = INHERITING + 'model = dict(decode_head=dict(num_classes=7))\nseen = _base_.norm_cfg\n'
    cfg = load_config(str(child(tmp_path, text)))
    assert cfg.model.decode_head.num_classes == 7
    assert cfg.model.decode_head.norm_cfg == cfg.seen == {'type': 'SSN'}
    assert cfg.model.backbone.depth == 50


def test_our_train_tool_reads_a_config_that_inherits(run_tool, tmp_path):
    code, output = run_tool(sys.executable, ROOT / 'tools/train.py', child(tmp_path, INHERITING))
    assert code == 2  # read, and stopped where ADE20K is looked for
    assert 'ADE20K (SceneParse150' in output


def test_other_packages_are_inherited_from_as_before(tmp_path):
    cfg = Config.fromfile(child(tmp_path, "_base_ = 'mmseg::_base_/models/fcn_r50-d8.py'\n"))
    assert cfg.model.backbone.type == 'ResNetV1c'
    assert cfg.model._scope_ == 'mmseg'


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('ssn_mm::deeplab_ssn_ade20.py', 'did you mean deeplab_ssn_ade20k.py'),
        ('ssn_mm::nothing_like_it.py', 'look in .*configs'),
        ('ssn_mm::', 'look in .*configs'),
    ],
)
def test_a_config_that_is_not_there_is_named_with_what_is(tmp_path, name, message):
    with pytest.raises(FileNotFoundError, match=f'{name}: no such file among .*; {message}'):
        Config.fromfile(child(tmp_path, f'_base_ = [{name!r}]\n'))


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(FileNotFoundError, match="no package 'mmnothing' is installed"):
        shipped('mmnothing', 'tools', 'train.py')


@pytest.mark.parametrize(
    ('name', 'hint'),
    [
        ('nothing.py', 'look in'),
        ('gpu_timing.py', 'look in'),
        ('gpu_chek.py', 'did you mean benchmarks/gpu_check.py?'),
        ('rendr.py', 'did you mean benchmarks/render.py?'),
    ],
)
def test_commands_are_suggested_and_not_the_modules_that_they_share(name, hint):
    with pytest.raises(FileNotFoundError) as told:
        shipped('ssn_mm', 'tools', name)
    assert f'; {hint}' in str(told.value)
    assert '/_' not in str(told.value)


READ = (
    'import sys; from mmengine.config import Config; print(Config.fromfile(sys.argv[1]).work_dir)'
)


def test_a_program_that_never_heard_of_ssn_mm_reads_an_expression_and_not_the_plain_name(tmp_path):
    code, output = python(READ, child(tmp_path, INHERITING), path=ROOT)
    assert code == 1
    assert 'please specify the package name' in output  # mmengine's
    text = INHERITING.replace("'ssn", "__import__('ssn_mm') and 'ssn")
    code, output = python(READ, child(tmp_path, text), path=ROOT)
    assert (code, output) == (0, 'work_dirs/deeplab_ssn_ade20k\n')


def test_an_editable_install_reads_the_checkout_and_not_the_copies_beside_its_pth_file(tmp_path):
    stale = tmp_path / 'site/ssn_mm/.mim/configs/deeplab_ssn_ade20k.py'  # hatchling leaves them
    stale.parent.mkdir(parents=True)
    stale.write_text("work_dir = 'stale'\n")
    path = os.pathsep.join([str(tmp_path / 'site'), str(ROOT)])
    code, output = python('import ssn_mm; ' + READ, child(tmp_path, INHERITING), path=path)
    assert (code, output) == (0, 'work_dirs/deeplab_ssn_ade20k\n')


def test_the_wheel_alone_inherits_and_brings_the_tools(tmp_path, run_tool, wheel_and_sdist):
    site = tmp_path / 'site'
    install = [sys.executable, '-m', 'pip', 'install', '--no-deps', '--no-compile', '--target']
    code, output = run_tool(*install, site, wheel_and_sdist[0])
    assert code == 0, output
    config = child(tmp_path, INHERITING)
    code, output = python('import ssn_mm; print(ssn_mm.__file__); ' + READ, config, path=site)
    assert code == 0, output
    assert output.split() == [str(site / 'ssn_mm/__init__.py'), 'work_dirs/deeplab_ssn_ade20k']
    environment = os.environ | {'PYTHONPATH': str(site)}
    for tool, options in (('train.py', [config]), ('test.py', [config, 'no.pth'])):
        command = [sys.executable, '-m', 'ssn_mm', f'ssn_mm::{tool}', *options]
        code, output = run_tool(*command, env=environment)
        assert code == 2, output
        assert {'train.py': 'ADE20K (Scene', 'test.py': "no checkpoint 'no.pth'"}[tool] in output


LAZY = """
from mmpretrain.models import ImageClassifier, LinearClsHead, ResNet

from ssn_mm import SSN
from ssn_mm.engine import SSNRadiusHook

custom_hooks = [dict(type=SSNRadiusHook)]
model = dict(
    type=ImageClassifier,
    backbone=dict(type=ResNet, depth=18, norm_cfg=dict(type=SSN, normalizers=('IN', 'BN'))),
    head=dict(type=LinearClsHead, num_classes=10, in_channels=512),
)
"""


def test_a_lazy_style_config_takes_the_classes(tmp_path):
    from mmengine.registry import HOOKS
    from mmpretrain.registry import MODELS

    from ssn_mm import SSN
    from ssn_mm.engine.hooks import SSNRadiusHook

    cfg = Config.fromfile(child(tmp_path, LAZY))
    assert isinstance(HOOKS.build(cfg.custom_hooks[0]), SSNRadiusHook)
    layers = [m for m in MODELS.build(cfg.model).modules() if isinstance(m, SSN)]
    assert len(layers) == 20
    assert all(layer.normalizers == ('IN', 'BN') for layer in layers)
