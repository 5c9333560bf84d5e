"""Samples of a config's data, as its network sees them in testing."""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch import Tensor

from ..datasets.check.preflight import check_datasets
from ..datasets.nested import datasets_of
from ..datasets.pipelines import dataset_of_tests
from .networks import takes_clips


def build_dataset(node: Mapping) -> Any:
    """Builds a dataset of a config, whose settings stay as they are."""
    return DATASETS.build(copy.deepcopy(dict(node)))


def read_samples(
    dataset: Any, model: Any, count: int | None = None, batch_size: int = 1
) -> Iterator[tuple[Tensor, list]]:
    """Preprocessed inputs in batches, with their data samples, evenly over a dataset.

    Args:
        dataset: The dataset.
        model: The OpenMMLab model, which preprocesses.
        count: The number of samples at most; None for all.
        batch_size: Samples of a batch; of more than one they have to be of one size.
    """
    number = len(dataset) if count is None else min(count, len(dataset))
    indices = np.linspace(0, len(dataset) - 1, number).astype(int).tolist()
    for start in range(0, number, batch_size):
        own = [_one_view(dataset[index]) for index in indices[start : start + batch_size]]
        batch = model.data_preprocessor(pseudo_collate(own), False)
        yield batch['inputs'], batch['data_samples']


def _one_view(sample: Mapping) -> Mapping:
    """The first of several views of a sample (TestTimeAug), or the only one."""
    if isinstance(sample['inputs'], list):
        return {key: views[0] for key, views in sample.items()}
    return sample


def calibration_samples(cfg: Config, model: Any, count: int) -> list[Tensor]:
    """Inputs to calibrate int8 with: training samples that went through the test pipeline.

    Random crops, flips and colours are for training; in use the network sees what the test pipeline
    makes, and the ranges of its maps are those of that. Of a video's clips the first is taken.

    Args:
        cfg: The config. The samples lie evenly over its training data.
        model: The OpenMMLab model, in evaluation, which preprocesses them.
        count: The number of samples.

    Returns:
        Preprocessed inputs, each a batch of one.

    Raises:
        DatasetMissingError: The training data is not there.
        ValueError: ``count`` is below 1, or the config has no training data or no test pipeline.
    """
    if count < 1:
        raise ValueError(f'int8 is calibrated with at least 1 sample, got {count}')
    check_datasets(cfg, ('train',))
    nodes = [node for node in datasets_of(cfg, 'train') if 'type' in node]
    if not nodes:
        raise ValueError(
            'the config has no train_dataloader, whose samples int8 is calibrated with; set one, '
            'or give ssn_mm.deploy.export_onnx samples of your own as its calibration'
        )
    pipeline, found = dataset_of_tests(cfg)['pipeline'], []
    for node in nodes:
        dataset, own = build_dataset({**node, 'pipeline': pipeline}), math.ceil(count / len(nodes))
        found += [inputs for inputs, _ in read_samples(dataset, model, own)]
    return [inputs[:, :1] if takes_clips(model) else inputs for inputs in found[:count]]
