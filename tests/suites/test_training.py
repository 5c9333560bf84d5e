import numpy as np
import pytest
from recorded import log

from ssn_mm.suites.training import pack, read_training, selected, unpack


def test_a_training_is_read_from_its_logs_a_resumed_one_once(tmp_path):
    log(tmp_path, [dict(loss=3.0, step=10, time=1.0), dict(loss=2.0, step=20, time=2.0)])
    records = [dict(loss=2.5, step=15, time=3.0), {'acc/top1': 0.5, 'step': 1}]
    log(tmp_path, [*records, dict(loss=1.0, step=25, memory=7)], '20260101_000001')
    row = read_training(tmp_path)
    assert row['metrics'] == {'top-1': 50}
    assert row['curves'] == {'loss': [[10, 15, 25], [3, 2.5, 1]], 'top-1': [[15], [50]]}
    assert (row['seconds_per_iteration'], row['memory'], row['ratios']) == (2, 7, None)
    with pytest.raises(ValueError, match='no validation with mIoU'):
        read_training(tmp_path, ['mIoU'])


def test_a_long_training_is_thinned_and_keeps_its_end(tmp_path):
    log(tmp_path, [{'loss': 1.0, 'step': i, 'mIoU': float(i)} for i in range(1, 1000)])
    at, values = read_training(tmp_path)['curves']['mIoU']
    assert len(at) == 60
    assert (at[0], at[-1], values[-1]) == (1, 999, 999)


def test_packed_ratios_are_the_ratios(results):
    packed = results.of('SSN', '2')[0]['ratios']
    again = pack(unpack(packed))
    assert again == packed
    assert sum(selected(unpack(packed)).values()) == 8
    assert np.isnan(unpack(results.of('SN', '2')[0]['ratios']).radius).all()


@pytest.mark.parametrize(
    ('key', 'value', 'name'),
    [
        ('accuracy_top-1', 62.5, 'training top-1'),  # mmpretrain's, mmaction2's and mmseg's
        ('top1_acc', 0.625, 'training top-1'),
        ('decode.acc_seg', 62.5, 'training pixel accuracy'),
    ],
)
def test_the_accuracy_in_training_is_a_curve_of_its_own(tmp_path, key, value, name):
    records = [{'loss': 1.0, key: value, 'step': 10}, {'acc/top1': 0.5, 'step': 1}]
    log(tmp_path, records)
    row = read_training(tmp_path)
    assert row['metrics'] == {'top-1': 50}
    assert row['curves'][name] == [[10], [62.5]]
