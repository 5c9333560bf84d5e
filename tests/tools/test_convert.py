"""Checkpoints of other networks, converted and trained on by the commands of docs/weights.md."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import one_hot

from ssn_mm.cli.config import load_config
from ssn_mm.publish.configs import build_network

ROOT = Path(__file__).parents[2]
CONVERT = ROOT / 'tools/model_converters/convert.py'
SN, SSN, BN = (ROOT / f'configs/demo/resnet_{norm}_digits.py' for norm in ('sn', 'ssn', 'bn'))


@pytest.fixture
def folder(tmp_path):
    """A network of SN with logits of its own, one of SSN that selected BN, one that did not."""
    sn = build_network(load_config(str(SN))).state_dict()
    for key in sn:
        if key.endswith('ratio_logits'):
            sn[key] = torch.randn(2, 3)
    torch.save({'state_dict': sn}, tmp_path / 'sn.pth')
    ssn = build_network(load_config(str(SSN))).state_dict()
    for name, row in (('bn', 2), ('in', 0)):
        vertices = one_hot(torch.tensor([2, row]), 3).float()
        state = {k: vertices if k.endswith('ratio_logits') else v for k, v in ssn.items()}
        torch.save({'state_dict': state}, tmp_path / f'selected_{name}.pth')
    (tmp_path / 'half.pth').write_bytes((tmp_path / 'sn.pth').read_bytes()[:1000])
    return tmp_path


def logits(path):
    state = torch.load(path, weights_only=True)['state_dict']
    return torch.stack([v for k, v in state.items() if k.endswith('ratio_logits')])


def test_every_target_of_the_converter_and_what_it_refuses(folder, run_tools):
    small = [
        f'{loader}_dataloader.dataset.{key}={value}'
        for loader in ('train', 'val', 'test')
        for key, value in (('data_root', folder / 'digits'), ('num_train', 64), ('num_val', 10))
    ]
    sn, half = folder / 'sn.pth', folder / 'half.pth'
    results = run_tools(
        folder,
        [CONVERT, SSN, sn, 'ssn.pth'],
        [CONVERT, SSN, sn, 'argmax.pth', '--argmax'],
        [CONVERT, BN, folder / 'selected_bn.pth', 'bn.pth'],
        [CONVERT, SSN, 'bn.pth', 'start.pth', '--bn-ratio', '0.6'],
        [ROOT / 'tools/train.py', SSN, '--cfg-options', 'load_from=argmax.pth', *small,
         'train_cfg.max_epochs=1', 'custom_hooks.0.schedule=constant'],
        [CONVERT, SN, sn, 'no.pth', '--argmax'],
        [CONVERT, SSN, sn, 'no.pth', '--bn-ratio', '0.6'],
        [CONVERT, SSN, sn, 'no.pth', '--num-batches', '200'],
        [CONVERT, BN, folder / 'selected_in.pth', 'no.pth'],
        [CONVERT, BN, sn, 'no.pth'],
        [CONVERT, SSN, half, 'no.pth'],
        [CONVERT, SSN, 'nowhere.pth', 'no.pth'],
        [CONVERT, SSN, sn, sn],
        [CONVERT, SSN, sn, 'no.pth', '--bn-ratio', '1.5'],
        [CONVERT, SSN, sn, 'no.pth', '--cfg-options', 'model.backbone.depth=34',
         'model.backbone.base_channels=24', 'model.backbone.stem_channels=24'],
    )  # fmt: skip
    codes, said = zip(*results, strict=True)
    assert codes == (0,) * 5 + (2,) * 9 + (0,), said
    source = logits(sn)
    torch.testing.assert_close(logits(folder / 'ssn.pth'), source.softmax(-1))
    assert torch.equal(logits(folder / 'argmax.pth'), one_hot(source.argmax(-1), 3).float())
    assert 'ssn.pth: 107 tensors loaded' in said[0]
    assert '15 left at their initial value: 15 radius (backbone.bn1, ' in said[0]
    state = torch.load(folder / 'bn.pth', weights_only=True)['state_dict']
    assert not [key for key in state if 'ratio' in key or 'radius' in key]
    build_network(load_config(str(BN))).load_state_dict(state)
    expected = torch.tensor([0.2, 0.2, 0.6]).expand(15, 2, 3)
    torch.testing.assert_close(logits(folder / 'start.pth'), expected)
    assert '30 of 30 ratios' in said[4]
    assert 'argmax asks for SSN layers' in said[5]
    assert 'no SSN or SN is without logits' in said[6]
    assert "sn.pth is no authors' checkpoint" in said[7]
    assert '15 layers learned to be, or to mix, other norms' in said[8]
    assert '15 layers learned to be, or to mix, other norms' in said[9]
    assert 'half.pth is damaged' in said[10]
    assert "no checkpoint 'nowhere.pth'" in said[11]
    assert 'which is read; name another file' in said[12]
    assert '--bn-ratio takes a number in (0, 1), got 1.5' in said[13]
    assert 'does not fit: (16, 3, 7, 7) in the checkpoint, (24, 3, 7, 7) in the' in said[14]
    assert (folder / 'no.pth').exists()  # the last one: its classifier did fit
    assert not list(folder.glob('.*.tmp'))
