"""A trained network as a function of pictures or videos."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, init_default_scope
from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..checkpoints.files import check_checkpoint
from ..checkpoints.publish import fill
from ..deploy import OnnxProgram, load_frozen

TASKS = {'mmpretrain': 'classification', 'mmseg': 'segmentation', 'mmaction': 'action'}
_ANNOTATIONS = ('LoadAnnotations', 'mmseg.LoadAnnotations')
_LOADING = ('LoadImageFromFile', 'mmseg.LoadImageFromFile', 'mmpretrain.LoadImageFromFile')


@dataclass(frozen=True)
class Prediction:
    """What a network says of one picture or video.

    Attributes:
        scores: (classes,) probabilities; for segmentation the share of the pixels of each class.
        label_map: Segmentation's (H, W) classes at the picture's own size; else None.
    """

    scores: np.ndarray
    label_map: np.ndarray | None = None


class Predictor:
    """Runs a network with its config's test pipeline and its library's post-processing.

    Args:
        cfg: The config it was trained with; ``load_config`` reads it.
        weights: A checkpoint, frozen or not, or an .onnx file.
        device: 'cpu' or 'cuda'; where the checkpoint's network and the preprocessing run.

    Attributes:
        task: 'classification', 'segmentation' or 'action'.
        classes: Their names; numbers where nobody knows them.
        palette: (classes, 3) RGB, or None.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: The weights are of another network, or the config of another task.
    """

    def __init__(self, cfg: Config, weights: str | Path, device: str = 'cpu') -> None:
        check_checkpoint(weights)
        if device == 'cuda' and not torch.cuda.is_available():
            raise ValueError("device 'cuda': PyTorch sees no GPU; use 'cpu'")
        scope = cfg.get('default_scope')
        if scope not in TASKS:
            raise ValueError(f'default_scope must be one of {", ".join(TASKS)}, got {scope!r}')
        self.task = TASKS[scope]
        init_default_scope(scope)
        self._model: Any = MODELS.build(cfg.model)
        meta = self._load(weights)
        dataset = cfg.test_dataloader.dataset
        stated = getattr(DATASETS.get(dataset.type), 'METAINFO', {}) | dict(
            dataset.get('metainfo', {})
        )
        names = meta.get('classes') or stated.get('classes')
        self.palette = meta.get('palette') or stated.get('palette')
        self._model.to(device).eval()
        head = getattr(self._model, 'decode_head', None) or getattr(self._model, 'head', None)
        head = head or self._model.cls_head
        self.classes = tuple(names or map(str, range(head.num_classes)))
        steps = [step for step in dataset.pipeline if step['type'] not in _ANNOTATIONS]
        self._wide = any(s['type'] in _LOADING and s.get('to_float32') for s in steps)
        if self.task != 'action':
            steps = [step for step in steps if step['type'] not in _LOADING]
        self._prepare = Compose([TRANSFORMS.build(step) for step in steps])

    def predict(self, items: Sequence[str | np.ndarray], batch_size: int = 1) -> list[Prediction]:
        """Predictions for pictures, (H, W, 3) uint8 arrays in BGR; for action paths of videos.

        Those that the pipeline makes equally large share a batch, so that none is padded for the
        sake of another: results do not depend on ``batch_size``.
        """
        samples = [self._prepare(self._describe(item)) for item in items]
        groups: dict[tuple, list[int]] = {}
        for index, sample in enumerate(samples):
            groups.setdefault(tuple(sample['inputs'].shape), []).append(index)
        found: dict[int, Prediction] = {}
        for indices in groups.values():
            for start in range(0, len(indices), batch_size):
                batch = indices[start : start + batch_size]
                with torch.no_grad():
                    results = self._model.test_step(pseudo_collate([samples[i] for i in batch]))
                found |= zip(batch, map(self._read, results), strict=True)
        return [found[index] for index in range(len(items))]

    def _load(self, weights: str | Path) -> dict[str, Any]:
        """Fills the network, or lets onnxruntime run it; returns what is known of its classes."""
        if Path(weights).suffix == '.onnx':
            program = OnnxProgram(weights)
            _run_by(self._model, program, self.task)
            return program.meta
        checkpoint = CheckpointLoader.load_checkpoint(str(weights), map_location='cpu')
        meta = checkpoint.get('meta') or {}
        if 'frozen' in meta:
            load_frozen(self._model, checkpoint)
        else:
            fill(self._model, checkpoint.get('state_dict', checkpoint), weights)
        return meta.get('dataset_meta') or {}

    def _describe(self, item: str | np.ndarray) -> dict[str, Any]:
        """What the loading steps would give to the rest of the pipeline."""
        if self.task == 'action':
            return dict(filename=item, label=-1, start_index=0, modality='RGB')
        if not isinstance(item, np.ndarray) or item.ndim != 3 or item.shape[2] != 3:
            got = item.shape if isinstance(item, np.ndarray) else item
            raise ValueError(f'a picture is an array (H, W, 3), got {got!r}')
        size, image = item.shape[:2], item.astype(np.float32) if self._wide else item
        return dict(img=image, img_path=None, img_shape=size, ori_shape=size, seg_fields=[])

    def _read(self, result: Any) -> Prediction:
        if self.task == 'segmentation':
            label_map = result.pred_sem_seg.data[0].cpu().numpy()
            counts = np.bincount(label_map.ravel(), minlength=len(self.classes))
            return Prediction(counts / label_map.size, label_map.astype(np.uint8))
        return Prediction(result.pred_score.cpu().numpy())


def _run_by(model: Any, program: Callable[[Tensor], Tensor], task: str) -> None:
    """Puts a program in the network's place; what follows the network stays the library's."""

    def segment(inputs: Tensor, metas: list[dict]) -> Tensor:
        return model.decode_head.predict_by_feat(program(inputs), metas)

    def classify(inputs: Tensor, samples: list) -> list:
        return model.head._get_predictions(program(inputs), samples)

    def recognize(inputs: Tensor, samples: list) -> list:
        return model.cls_head.predict_by_feat(program(inputs), samples)

    if task == 'segmentation':
        model.encode_decode = segment
    else:
        model.predict = classify if task == 'classification' else recognize
