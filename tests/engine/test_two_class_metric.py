import math

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope

SCORES = (0.1, 0.4, 0.35, 0.8)  # of the second class; of four pairs three are in order


def evaluate(labels, scores, classes=2):
    samples = []
    for label, score in zip(labels, scores, strict=True):
        others = [(1 - score) / (classes - 1)] * (classes - 1)
        samples.append(
            dict(gt_label=torch.tensor([label]), pred_score=torch.tensor([*others, score]))
        )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        evaluator = Evaluator(dict(type='TwoClassMetric'))
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


def test_it_counts_pairs_in_order_and_averages_the_recalls():
    assert evaluate((0, 0, 1, 1), SCORES) == dict(AUC=75, balanced_accuracy=75)


def test_classes_of_unequal_size_count_alike_and_auc_knows_no_threshold():
    found = evaluate((0, 0, 0, 0, 1), (0.1, 0.2, 0.3, 0.4, 0.45))
    assert found == dict(AUC=100, balanced_accuracy=50)


def test_scores_that_are_not_numbers_give_nan():
    found = evaluate((0, 1), (0.1, math.nan))
    assert all(map(math.isnan, found.values()))


def test_one_class_alone_and_more_than_two_are_refused():
    with pytest.raises(ValueError, match=r'all 2 samples are of class 1, .*both classes'):
        evaluate((1, 1), (0.2, 0.3))
    with pytest.raises(ValueError, match='for two classes, the network has 3'):
        evaluate((0, 1), (0.2, 0.3), classes=3)
