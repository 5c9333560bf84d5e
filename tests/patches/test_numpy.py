"""The libraries' metrics and augmentations on today's numpy."""

import json
import random
from importlib.util import find_spec

import cv2
import numpy as np
import pytest
import torch

from ssn_mm import patches

LIBRARIES = ('mmcv', 'mmpretrain', 'mmaction')
pytestmark = pytest.mark.skipif(
    not all(find_spec(name) for name in LIBRARIES), reason='the libraries are not installed'
)


def test_patches_may_be_asked_for_any_number_of_times():
    import mmcv

    first = mmcv.adjust_hue
    patches.apply()
    assert mmcv.adjust_hue is first is mmcv.image.adjust_hue


def test_names_that_numpy_removed_mean_what_they_did():
    values = np.array([[1, 2], [3, 4]])
    assert np.in1d(values, [2, 3]).tolist() == [False, True, True, False]
    assert np.in1d(values, [2, 3], invert=True).tolist() == [True, False, False, True]
    assert np.trapz([1, 2, 3], [0, 2, 3]) == 5.5
    assert np.Inf == float('inf')
    assert np.isnan(np.NAN)
    assert np.array([1], dtype=np.float).dtype == np.float64


def test_mmpretrains_retrieval_metrics_count_what_was_found():
    from mmpretrain.evaluation import RetrievalAveragePrecision, RetrievalRecall
    from mmpretrain.structures import DataSample

    scores = torch.tensor([[0.9, 0.5, 0.1, 0.3], [0.1, 0.2, 0.9, 0.8]])  # ranks 0 1 3 2, 2 3 1 0
    samples = [
        DataSample().set_pred_score(score).set_gt_label(label).to_dict()
        for score, label in zip(scores, ([0], [1, 3]), strict=True)
    ]
    for sample in samples:
        sample['num_classes'] = 4
    recall = RetrievalRecall(topk=(1, 2))
    recall.process(None, samples)
    assert recall.evaluate(2) == {'retrieval/Recall@1': 50, 'retrieval/Recall@2': 100}
    precision = RetrievalAveragePrecision(topk=4)
    precision.process(None, samples)
    # 1, and the mean of 1/2 and 2/3
    expected = pytest.approx(100 * (1 + (1 / 2 + 2 / 3) / 2) / 2)
    assert precision.evaluate(2)['retrieval/mAP@4'] == expected


def test_mmaction2s_retrieval_metric_does_too():
    from mmaction.evaluation.metrics.multimodal_metric import RetrievalRecall

    scores = torch.tensor([[0.9, 0.5], [0.2, 0.8]])
    assert RetrievalRecall.calculate(scores, [[0], [0]], 1, target_indices=True) == [50]


def test_mmaction2s_localization_metric_measures_the_area_under_the_recall(tmp_path):
    from mmaction.evaluation import ANetMetric
    from mmaction.structures import ActionDataSample

    metric = ANetMetric(
        'AR@AN', dump_config=dict(out=str(tmp_path / 'a.json'), output_format='json')
    )
    info = dict(
        video_name='v_a', annotations=[dict(segment=[0.0, 5.0], label='x')], duration_second=10
    )
    sample = ActionDataSample(metainfo=info | dict(duration_frame=100, feature_frame=100))
    found = [dict(segment=[0.0, 5.0], score=0.9), dict(segment=[6.0, 9.0], score=0.2)]
    prediction = dict(video_name='v_a', proposal_list=found)
    metric.process(dict(data_samples=[sample]), [prediction])
    scores = metric.evaluate(1)
    assert scores['auc'] == pytest.approx(100 * 0.99)  # 1 from the first proposal of a hundred on
    assert scores['AR@100'] == 1
    results = json.loads((tmp_path / 'a.json').read_text())['results']
    assert results == {'a': found}
    assert ANetMetric.proposals2json([prediction], show_progress=True) == {'a': found}


def test_avas_metric_of_nothing_is_no_number():
    from mmaction.evaluation.functional.ava_evaluation.metrics import compute_average_precision

    assert np.isnan(compute_average_precision(None, None))


def test_multisports_metric_finds_the_ends_of_tubes():
    from mmaction.evaluation.functional.multisports_utils import iou3dt_voc

    tube = np.array([[frame, 0, 0, 9, 9] for frame in (1.0, 2, 3)])
    later = tube + np.array([1, 0, 0, 0, 0])
    assert iou3dt_voc(tube, later) == pytest.approx(1 / 3)
    assert iou3dt_voc(tube, later, spatialonly=True) == 1


def test_poses_are_cropped_to_what_moves():
    from mmaction.datasets.transforms import PoseCompact

    keypoint = np.array([[[[20.0, 30], [60, 70]]]], np.float32)  # persons, frames, joints, (x, y)
    results = dict(img_shape=(100, 200), keypoint=keypoint)
    found = PoseCompact(padding=0.0, threshold=10).transform(results)
    assert found['img_shape'] == (40, 40)
    assert found['keypoint'].ravel().tolist() == [0, 0, 40, 40]


def picture(hue, code):
    """All of one hue, in OpenCV's units, saturated and bright."""
    hsv = np.array([[[hue, 255, 255]]], np.uint8).repeat(4, 0).repeat(4, 1)
    return cv2.cvtColor(hsv, code)


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('factor', [-0.3, -0.1, 0.0, 0.3])
def test_mmcv_turns_hues_both_ways(factor, backend):
    import mmcv

    image = picture(50, cv2.COLOR_HSV2BGR_FULL)
    found = mmcv.adjust_hue(image, factor, backend=backend)
    hues = cv2.cvtColor(found, cv2.COLOR_BGR2HSV_FULL)[..., 0].astype(int)
    wanted = (50 + int(factor * 255)) % 256
    assert np.abs(hues - wanted).max() <= 1


def test_mmpretrains_jitter_turns_hues_both_ways():
    from mmpretrain.datasets import ColorJitter

    jitter = ColorJitter(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.4)
    image = picture(50, cv2.COLOR_HSV2BGR_FULL)
    turned = []
    for seed in range(8):
        random.seed(seed), np.random.seed(seed)
        found = jitter.transform(dict(img=image.copy()))['img']
        turned.append(int(cv2.cvtColor(found, cv2.COLOR_BGR2HSV_FULL)[0, 0, 0]) - 50)
    signs = {np.sign((turn + 128) % 256 - 128) for turn in turned}
    assert signs >= {-1, 1}


@pytest.mark.parametrize('factor', [-0.1, 0.0, 0.1])
def test_mmaction2_turns_hues_of_clips_both_ways(factor):
    from mmaction.datasets.transforms import ColorJitter

    image = picture(20, cv2.COLOR_HSV2RGB)
    found = ColorJitter.adjust_hue(image.astype(np.float32), factor)
    assert found.dtype == np.float32
    hues = cv2.cvtColor(found.astype(np.uint8), cv2.COLOR_RGB2HSV)[..., 0].astype(int)
    assert np.abs(hues - (20 + int(factor * 255)) % 180).max() <= 1


def test_position_biases_change_their_size_by_splines_through_them():
    from scipy import interpolate

    x, y = np.array([-3.0, -1.2, 0.0, 0.5, 2.0, 4.0]), np.array([-2.0, -1.0, 0.0, 1.5, 3.0])

    def cubic(x, y):
        return x**3 - 2 * x * y**2 + y

    resized = interpolate.interp2d(x, y, cubic(x, y[:, None]), kind='cubic')
    new_x, new_y = np.linspace(-3, 4, 9), np.linspace(-2, 3, 4)
    np.testing.assert_allclose(resized(new_x, new_y), cubic(new_x, new_y[:, None]), atol=1e-9)


def test_windows_of_swin_change_their_size_where_weights_are_loaded():
    from mmpretrain.models.utils import resize_relative_position_bias_table

    table = torch.arange(49.0)[:, None].expand(49, 2)  # 7x7 offsets, two heads
    resized = resize_relative_position_bias_table(7, 9, table, 2)
    assert resized.shape == (81, 2)
    torch.testing.assert_close(resized[40], table[24])  # no offset
    assert (resized[1:] > resized[:-1]).float().mean() > 0.85  # grows along rows as it did
