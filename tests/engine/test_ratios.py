import json

import numpy as np
import pytest

from ssn_mm.engine import read_ratios


@pytest.fixture
def run(tmp_path):
    header = dict(layers=['a', 'b'], normalizers=[['IN', 'BN'], ['BN', 'LN', 'IN']])
    ratios = [
        [[[0.5, 0.5], [0.4, 0.6]], [[0.2, 0.3, 0.5], [1, 0, 0]]],
        [[[0, 1], [1, 0]], [[0, 0, 1], [1, 0, 0]]],
    ]
    records = [
        dict(iter=i, radius=r, ratios=p) for i, r, p in zip((5, 10), (0.3, 1), ratios, strict=True)
    ]
    (tmp_path / 'ssn_ratios.jsonl').write_text(
        ''.join(json.dumps(line) + '\n' for line in [header, *records]) + '{"iter": 15, "ra'
    )
    return tmp_path


def test_layers_with_different_normalizers_share_one_table(run):
    found = read_ratios(run)
    assert found.normalizers == ['IN', 'BN', 'LN']
    assert found.iters.tolist() == [5, 10]
    np.testing.assert_allclose(found.ratios.sum(-1), np.ones((2, 2, 2)))
    assert found.ratios[0, 1].tolist() == [[0.5, 0.2, 0.3], [0, 1, 0]]


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='no ratios at'):
        read_ratios(tmp_path)
    (tmp_path / 'ssn_ratios.jsonl').write_text('{"layers": [], "normalizers": []}\n')
    with pytest.raises(ValueError, match='no record'):
        read_ratios(tmp_path)
    (tmp_path / 'ssn_ratios.jsonl').write_text('hello\n')
    with pytest.raises(ValueError, match='not a file that SSNRadiusHook or RatiosHook'):
        read_ratios(tmp_path)
