"""A trained network as a function of pictures or videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner.amp import autocast

from ..config_files import files_of
from ..datasets.nested import scope_of
from ..datasets.pipelines import Preparation, Prepared, class_of
from ..deploy import OnnxProgram, OpenVinoProgram, TorchProgram, load_frozen
from ..deploy.networks import build_network, head_of, task_of, with_program, with_views
from ..deploy.preprocessing import on_preprocessed
from ..weights import pickles
from ..weights.content import load_strictly
from ..weights.files import check_checkpoint, read_weights


@dataclass(frozen=True)
class Prediction:
    """A network's prediction for one picture or video.

    Attributes:
        scores: A number for each class, (classes,), as the library's post-processing gives it,
            mostly a probability; for segmentation the part of the pixels that have the class.
        label_map: The class of each pixel, (H, W) at the picture's own size, of a segmentation;
            else None.
    """

    scores: np.ndarray
    label_map: np.ndarray | None = None


class Predictor:
    """Runs a network with its config's test pipeline and its library's post-processing.

    Labels equal those of a test of the same picture or video.

    Args:
        cfg: The config that the network was trained with; ``load_config`` reads it.
        weights: A checkpoint, frozen or not; an .onnx file; OpenVINO's .xml file; or, where
            the user trusts what is loaded, a .pt2 file.
        device: Where the checkpoint's network and the preprocessing run, 'cpu' or 'cuda'.

    Attributes:
        task: 'classification', 'segmentation' or 'action'.
        preparation: The loading steps and the test pipeline; ``preparation.reads`` is 'pictures',
            'videos' or 'frames'.
        classes: Names of the classes; numbers where nobody knows the names.
        palette: Colours of the classes, (classes, 3) RGB, or None.
        files: Paths of the weights and of the config's files.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: The weights are of another network, or the config is of another task, or tells
            no test pipeline.
    """

    def __init__(self, cfg: Config, weights: str | Path, device: str = 'cpu') -> None:
        check_checkpoint(weights)
        if device == 'cuda' and not torch.cuda.is_available():
            raise ValueError("device 'cuda': PyTorch sees no GPU; use 'cpu'")
        init_default_scope(scope_of(cfg))
        self.files = [str(weights), *files_of(cfg)]
        self.task = task_of(cfg)
        self.preparation = Preparation(cfg)
        self._model: Any = build_network(cfg)
        meta = self._load(weights)
        stated = _stated(self.preparation.dataset)
        names = meta.get('classes') or stated.get('classes') or ()
        self.palette = meta.get('palette') or stated.get('palette')
        self._model.to(device).eval()
        self._tester = with_views(cfg, self._model)
        number = getattr(head_of(self._model), 'num_classes', None) or 0
        self.classes = (*names, *map(str, range(len(names), number)))
        self._half = bool((cfg.get('test_cfg') or {}).get('fp16'))

    def prepare(self, item: str | np.ndarray, reader: Any = None) -> Prepared:
        """What the network sees of an input, see :class:`Preparation`."""
        return self.preparation(item, reader)

    def predict(
        self, items: Sequence[str | np.ndarray | Prepared], batch_size: int = 1
    ) -> list[Prediction]:
        """Predictions for inputs, in their order.

        Args:
            items: Paths of what ``preparation.reads``; pictures in memory, (H, W, 3) uint8 in BGR;
                or what :meth:`prepare` returned.
            batch_size: The most inputs in a batch. Inputs that the pipeline makes equally large
                share one, so that none is padded for the sake of another and results do not
                depend on this number.
        """
        prepared = [item if isinstance(item, Prepared) else self.prepare(item) for item in items]
        samples = [one.sample for one in prepared]
        groups: dict[tuple, list[int]] = {}
        for index, sample in enumerate(samples):
            inputs = sample['inputs']  # views of a picture where the config's model averages them
            views = inputs if isinstance(inputs, list) else [inputs]
            groups.setdefault(tuple(view.shape for view in views), []).append(index)
        found: dict[int, Prediction] = {}
        for indices in groups.values():
            for start in range(0, len(indices), batch_size):
                batch = indices[start : start + batch_size]
                with torch.no_grad(), autocast(enabled=self._half):
                    results = self._tester.test_step(pseudo_collate([samples[i] for i in batch]))
                found |= zip(batch, map(self._read, results), strict=True)
        return [found[index] for index in range(len(items))]

    def _load(self, weights: str | Path) -> dict[str, Any]:
        """Fills the network, or lets a runtime run it; returns what is known of its classes."""
        runtimes: dict[str, Any] = {
            '.onnx': OnnxProgram,
            '.xml': OpenVinoProgram,
            '.pt2': TorchProgram,
        }
        if Path(weights).suffix == '.pt2' and not pickles.are_trusted():
            raise ValueError(
                f'{weights} is a program of torch.export, which may run code when it is loaded. If '
                'you trust its origin as you trust a program, add --trust-checkpoint to the tool, '
                'or set TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1; ONNX and OpenVINO files need neither'
            )
        if runtime := runtimes.get(Path(weights).suffix):
            program = runtime(weights)
            self._model = with_program(self._model, on_preprocessed(program))
            return program.meta
        state, meta = read_weights(weights)
        if 'frozen' in meta:
            load_frozen(self._model, dict(state_dict=state, meta=meta))
        else:
            load_strictly(self._model, state, weights)
        return meta.get('dataset_meta') or {}

    def _read(self, result: Any) -> Prediction:
        if self.task == 'segmentation':
            pixels = result.pred_sem_seg.data  # (1, H, W), of averaged views (H, W)
            label_map = pixels.reshape(pixels.shape[-2:]).cpu().numpy().astype(np.int64)
            counts = np.bincount(label_map.ravel(), minlength=len(self.classes))
            smallest = np.uint8 if len(counts) <= 256 else np.uint16
            prediction = Prediction(counts / label_map.size, label_map.astype(smallest))
        else:
            scores = result.pred_score.float().cpu().numpy()
            # of clips that the head does not average, the mean
            prediction = Prediction(scores.reshape(-1, scores.shape[-1]).mean(0))
        known = len(self.classes)
        self.classes += tuple(map(str, range(known, len(prediction.scores))))
        return prediction


def _stated(dataset: dict[str, Any]) -> dict[str, Any]:
    """What a dataset of the config, and its type, say of the classes: ``METAINFO``."""
    kind = class_of(DATASETS, dataset.get('type'), dataset['_scope_'])
    return getattr(kind, 'METAINFO', {}) | dict(dataset.get('metainfo') or {})
