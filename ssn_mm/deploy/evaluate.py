"""Evaluates deployed networks on the whole data that their config is tested on."""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from torch import Tensor

from ..datasets.check.preflight import check_datasets
from ..datasets.pipelines import dataset_of_tests
from ..timing.tables import table
from .networks import equal_labels, predictions, with_program
from .samples import build_dataset, read_samples


@dataclass
class Evaluation:
    """How a network does on a whole dataset.

    Attributes:
        metrics: What the config's evaluator says, by name.
        equal: How many labels are those of the trained network: of pixels in segmentation, of
            pictures or videos else.
        total: How many labels there are.
    """

    metrics: dict[str, float]
    equal: int = 0
    total: int = 0


@torch.no_grad()
def evaluate_networks(
    cfg: Config,
    model: Any,
    networks: Mapping[str, Callable[[Tensor], Tensor]],
    batch_size: int = 1,
) -> dict[str, Evaluation]:
    """Runs networks on all of a config's test data, or its validation data where it has no other.

    Args:
        cfg: The config, with its evaluator.
        model: The OpenMMLab model, which preprocesses samples and predicts from outputs.
        networks: Functions of preprocessed inputs, by name; with the first, the others are
            compared.
        batch_size: Samples that run together; of more than one they have to be of one size.

    Raises:
        DatasetMissingError: The data is not there.
        ValueError: The config has no such data, or no evaluator.
    """
    split = 'test' if cfg.get('test_dataloader') else 'val'
    check_datasets(cfg, (split,))
    if not cfg.get(f'{split}_evaluator'):
        raise ValueError(f'the config has no {split}_evaluator, which says what is measured')
    node = dataset_of_tests(cfg)
    if 'type' not in node:
        raise ValueError('the config has neither test_dataloader nor val_dataloader; set one')
    dataset = build_dataset(node)
    evaluators = {name: Evaluator(cfg[f'{split}_evaluator']) for name in networks}
    for evaluator in evaluators.values():
        evaluator.dataset_meta = dataset.metainfo
    served = {name: with_program(model, network) for name, network in networks.items()}
    found = {name: Evaluation({}) for name in networks}
    for inputs, samples in read_samples(dataset, model, batch_size=batch_size):
        expected = None
        for name, own in found.items():
            labels = predictions(served[name], inputs, samples)
            expected = expected or labels
            equal, total = equal_labels(labels, expected)
            own.equal, own.total = own.equal + equal, own.total + total
            evaluators[name].process(labels)
    with _quiet():
        for name, evaluator in evaluators.items():
            measured = evaluator.evaluate(len(dataset))
            found[name].metrics = {k: float(v) for k, v in measured.items() if _is_number(v)}
    if left := [key for key, value in measured.items() if not _is_number(value)]:
        warnings.warn(f'no single numbers, so not in the table: {", ".join(left)}', stacklevel=2)
    return found


def _is_number(value: Any) -> bool:
    array = isinstance(value, Tensor | np.ndarray) and np.asarray(value).size == 1
    return array or isinstance(value, int | float | np.number)


def evaluation_table(found: Mapping[str, Evaluation]) -> str:
    """A line for each network: its metrics, and how many labels are those of the first."""
    names = list(next(iter(found.values())).metrics)
    lines = [
        [name, *(f'{own.metrics[key]:.4g}' for key in names), f'{own.equal} of {own.total}']
        for name, own in found.items()
    ]
    return f'On all samples:\n\n{table(["network", *names, "labels equal"], lines)}\n'


@contextmanager
def _quiet() -> Iterator[None]:
    """Within it evaluators log no tables of their own."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
