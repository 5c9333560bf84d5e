"""Balanced accuracy and the area under the ROC curve, for classes of unequal size."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric


class TwoClassMetric(BaseMetric):
    """Of a network of mmpretrain with two classes, the second of which is to be found.

    ``AUC`` is the area under the ROC curve in percent: how often a sample of the second class
    scores higher than one of the first, at whatever threshold. ``balanced_accuracy`` is the mean of
    both classes' recall in percent, where the higher score wins. scikit-learn computes both.
    """

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keeps label and score of each sample.

        Raises:
            ValueError: A sample has another number of scores than two.
        """
        for sample in data_samples:
            scores = sample['pred_score']
            if len(scores) != 2:
                raise ValueError(
                    f'TwoClassMetric is for two classes, the network has {len(scores)}; use '
                    "mmpretrain's Accuracy or SingleLabelMetric"
                )
            self.results.append((int(sample['gt_label']), float(scores[1])))

    def compute_metrics(self, results: list[tuple[int, float]]) -> dict[str, float]:
        """The two metrics, NaN where the network gave NaN.

        Raises:
            ValueError: All samples are of one class.
        """
        from sklearn.metrics import balanced_accuracy_score, roc_auc_score

        labels, scores = (np.array(own) for own in zip(*results, strict=True))
        if len(there := set(labels.tolist())) < 2:
            raise ValueError(
                f'all {len(labels)} samples are of class {there.pop()}, of which neither balanced '
                'accuracy nor AUC can be told; validate with samples of both classes'
            )
        if not np.isfinite(scores).all():
            return dict(AUC=float('nan'), balanced_accuracy=float('nan'))
        return dict(
            AUC=100 * float(roc_auc_score(labels, scores)),
            balanced_accuracy=100 * float(balanced_accuracy_score(labels, scores > 0.5)),
        )
