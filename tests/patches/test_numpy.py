"""Names that numpy 2 removed, and the metrics and transforms of the libraries that call them."""

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch

LIBRARIES = ('mmpretrain', 'mmaction')
pytestmark = pytest.mark.skipif(
    not all(find_spec(name) for name in LIBRARIES), reason='the libraries are not installed'
)


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


def test_poses_are_cropped_to_what_moves():
    from mmaction.datasets.transforms import PoseCompact

    keypoint = np.array([[[[20.0, 30], [60, 70]]]], np.float32)  # persons, frames, joints, (x, y)
    results = dict(img_shape=(100, 200), keypoint=keypoint)
    found = PoseCompact(padding=0.0, threshold=10).transform(results)
    assert found['img_shape'] == (40, 40)
    assert found['keypoint'].ravel().tolist() == [0, 0, 40, 40]
