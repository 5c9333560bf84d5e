"""Prepares pictures, videos and folders of frames for a network as its config's testing does."""

import copy
import os
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, DefaultScope, Registry

from .nested import datasets_of, loading_steps, scope_of, type_name
from .sample_info import check_readers

SHOWN_FRAMES = 6  # frames of a video that are kept to look at
_ANNOTATIONS = re.compile(r'Load\w*(Annotation|Label)')
_PICTURES = re.compile(r'Load\w*Image|InferencerLoader')
_VIDEOS = ('DecordInit', 'OpenCVInit', 'PyAVInit', 'PIMSInit')
_DECODERS = ('DecordDecode', 'OpenCVDecode', 'PyAVDecode', 'PIMSDecode')
_OTHERS = re.compile(  # what they read is neither a picture nor a video nor a folder of frames
    r'^Load(Multiple|Biomedical|ImageFromNDArray|Audio|Proposals)|^SampleAVAFrames|Pose|Ske|'
    r'^MM(Uniform|Decode|Compact)|^ApplyToList|Localization|^ConcatCDInput'
)


def dataset_of_tests(cfg: Config) -> dict[str, Any]:
    """The dataset that a config is tested on: its settings, with ``pipeline`` and ``_scope_``.

    It is the first dataset of ``test_dataloader``, else of ``val_dataloader``, whose own steps
    its wrappers' follow. Of a config without either it is the pipeline alone, ``test_pipeline``
    or ``val_pipeline``.

    Raises:
        ValueError: The config has none of them.
    """
    for split in ('test', 'val'):
        found = [node for node in datasets_of(cfg, split, outer_steps=True) if node.get('pipeline')]
        if found:
            if any(node['pipeline'] != found[0]['pipeline'] for node in found):
                name = type_name(found[0])
                warnings.warn(
                    f'the datasets of {split}_dataloader have different pipelines; that of the '
                    f'first, {name}, is used',
                    stacklevel=2,
                )
            return found[0]
    for name in ('test_pipeline', 'val_pipeline'):
        if cfg.get(name):
            return dict(_scope_=scope_of(cfg), pipeline=cfg[name])
    raise ValueError(
        'the config does not say how test data is prepared: it has no test_dataloader, '
        'val_dataloader or test_pipeline; set one, as in the config it was trained with'
    )


def steps_of_tests(cfg: Config) -> dict[str, Mapping]:
    """The steps of a config's test pipeline by the names of their types; none if it has none."""
    try:
        pipeline = dataset_of_tests(cfg)['pipeline']
    except ValueError:
        return {}
    return {type_name(step): step for step in pipeline if isinstance(step, Mapping)}


@dataclass(frozen=True)
class Prepared:
    """An input as a network sees it, and as people do.

    Attributes:
        sample: What a dataset would give to the data loader: ``inputs`` and ``data_samples``.
        loaded: The picture as its loading step gave it, (H, W) or (H, W, C) of any dtype; of a
            video some of the frames that were decoded, each (H, W, C) in RGB.
        note: What is unusual about the input, for people.
    """

    sample: Any
    loaded: Any
    note: str = ''


class Preparation:
    """A config's own loading steps and test pipeline, for a single input.

    A file goes through them as in testing, but for its annotation. A frame or picture that is an
    array already, (H, W, 3) uint8 in BGR, goes through them as a file without loss would.

    Args:
        cfg: A config of mmsegmentation, mmpretrain or mmaction2.

    Attributes:
        reads: 'pictures', 'videos', or 'frames' (folders of them).

    Raises:
        ValueError: The config tells no pipeline, or one for other data, or whose reader is missing.
    """

    def __init__(self, cfg: Config) -> None:
        self.dataset = dataset_of_tests(cfg)
        names = [type_name(step) for step in self.dataset['pipeline']]
        for name in names:
            if _OTHERS.search(name):
                raise ValueError(
                    f'the test pipeline of the config has {name}: its network sees something else '
                    'than single pictures, videos or folders of frames'
                )
        self.reads = 'pictures'
        if any(name in _VIDEOS for name in names):
            self.reads = 'videos'
        elif 'RawFrameDecode' in names:
            self.reads = 'frames'
        if self.reads == 'pictures':  # videos may be read by others
            loading = loading_steps(self.dataset)
            check_readers(s for s in loading if not _ANNOTATIONS.match(type_name(s)))
        with DefaultScope.overwrite_default_scope(self.dataset['_scope_']):
            steps = copy.deepcopy(self.dataset['pipeline'])
            built = [step if callable(step) else TRANSFORMS.build(step) for step in steps]
        built = [s for one in built for s in (one if isinstance(one, Compose) else [one])]
        self.steps = _without_annotations(built)
        self._loads = any(_PICTURES.match(type(s).__name__) for s in self.steps)

    def __call__(self, item: str | os.PathLike | np.ndarray, reader: Any = None) -> Prepared:
        """Prepares a file, a folder of frames or an array.

        Args:
            item: The path of what ``reads`` says; or a picture, (H, W, 3) uint8 in BGR. Any other
                array is taken for what the loading step gives.
            reader: An open video, as decord's ``VideoReader``, in place of the one that the
                pipeline opens and decodes by, of whichever package.

        Raises:
            ValueError: The pipeline asks for what a single input does not have.
            Exception: Whatever its steps raise for a broken file.
        """
        if not isinstance(item, np.ndarray):
            describe = self._describe if self.reads == 'pictures' else self._describe_video
            return self._run(describe(os.fspath(item)), reader)
        if self.reads != 'pictures':
            raise ValueError(f'the network takes {self.reads}, got an array {item.shape}')
        if not (item.ndim == 3 and item.shape[2] == 3 and item.dtype == np.uint8 and self._loads):
            return self._run(self._describe_array(item))
        with tempfile.TemporaryDirectory() as folder:
            # a format without loss that the loading step decodes
            tiff = 'tifffile' in {getattr(step, 'imdecode_backend', None) for step in self.steps}
            suffix = '.tif' if tiff else '.png'
            quick = [cv2.IMWRITE_TIFF_COMPRESSION, 1, cv2.IMWRITE_PNG_COMPRESSION, 0]
            _, data = cv2.imencode(suffix, item, quick[:2] if tiff else quick[2:])
            file = Path(folder, f'frame{suffix}')
            file.write_bytes(data.tobytes())  # on Windows cv2.imwrite takes no name beyond ASCII
            return self._run(self._describe(str(file)))

    def _run(self, results: Any, reader: Any = None) -> Prepared:
        loaded = results.get('img')
        for step in self.steps:
            name = type(step).__name__
            if loaded is not None and 'img' in results and _PICTURES.match(name):
                continue  # an array in the place of what it would load
            if reader is not None and name in _VIDEOS:
                results |= dict(video_reader=reader, total_frames=len(reader))
                results['avg_fps'] = reader.get_avg_fps()
                continue
            try:
                if reader is not None and name in _DECODERS:
                    results |= _decoded(reader, results['frame_inds'])
                else:
                    results = step(results)
            except KeyError as error:
                raise ValueError(
                    f'{name} of the test pipeline asks for {error} of a sample, which a single '
                    'input does not have'
                ) from error
            if results is None:
                raise ValueError(f'{name} of the test pipeline refuses it')
            if loaded is None and ('img' in results or 'imgs' in results):
                loaded = _kept(results)
        return Prepared(results, loaded)

    def _describe(self, path: str) -> dict[str, Any]:
        """A sample of a dataset of pictures, without what its annotation says."""
        if not self._loads:
            return self._describe_array(self._decode(path))
        return dict(img_path=path, seg_fields=[], sample_idx=0)

    def _describe_array(self, image: np.ndarray) -> dict[str, Any]:
        size = image.shape[:2]
        for step in self.steps:
            if _PICTURES.match(type(step).__name__) and getattr(step, 'to_float32', False):
                image = image.astype(np.float32)
        return dict(
            img=image, img_path=None, img_shape=size, ori_shape=size, seg_fields=[], sample_idx=0
        )

    def _describe_video(self, path: str) -> dict[str, Any]:
        """A sample of a dataset of videos, or of folders of frames."""
        own = self.dataset.get
        info = dict(label=-1, modality=own('modality', 'RGB'), sample_idx=0)
        if self.reads == 'videos':
            return info | dict(filename=path, start_index=own('start_index', 0))
        return info | dict(
            frame_dir=path,
            filename_tmpl=own('filename_tmpl', 'img_{:05}.jpg'),
            start_index=own('start_index', 1),
            total_frames=self.frames_in(path),
        )

    def frames_in(self, folder: str | os.PathLike) -> int:
        """How many frames a folder has, under the dataset's names and without a gap."""
        numbers = count()
        there = (os.path.isfile(os.path.join(folder, self.frame_name(n))) for n in numbers)
        return next(number for number, found in enumerate(there) if not found)

    def frame_name(self, number: int) -> str:
        """How a frame of a folder is called, the first being 0; of optical flow its x."""
        own = self.dataset.get
        axis = ['x'] if own('modality', 'RGB') == 'Flow' else []  # 'y' lies beside it
        template, first = own('filename_tmpl', 'img_{:05}.jpg'), own('start_index', 1)
        return template.format(*axis, first + number)

    def _decode(self, path: str) -> np.ndarray:
        """A picture as a dataset without a loading step has it in memory."""
        kind = class_of(DATASETS, self.dataset.get('type'), self.dataset['_scope_'])
        names = {base.__name__ for base in getattr(kind, '__mro__', ())}
        if 'MNIST' in names:
            return mmcv.imread(path, flag='grayscale')
        return mmcv.imread(path, channel_order='rgb' if 'CIFAR10' in names else 'bgr')


def _without_annotations(steps: Sequence) -> list:
    kept = [step for step in steps if not _ANNOTATIONS.match(type(step).__name__)]
    for step in kept:
        for view in getattr(step, 'subroutines', ()):  # TestTimeAug has them
            view.transforms = _without_annotations(view.transforms)
    return kept


def class_of(registry: Registry, kind: Any, scope: str) -> Any:
    """What a config's ``type`` stands for, a name or the class itself; None if nobody has it."""
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(scope) as own:
        return own.get(kind)


def averages_views(cfg: Config) -> bool:
    """Whether the model of a config is one for test-time augmentation, around a network."""
    found = class_of(MODELS, cfg.model.get('type'), scope_of(cfg))
    return 'BaseTTAModel' in [base.__name__ for base in getattr(found, '__mro__', ())]


def _decoded(reader: Any, indices: np.ndarray) -> dict[str, Any]:
    """What a pipeline's decoder adds to a sample, frames in RGB."""
    frames = list(reader.get_batch(np.ravel(indices)).asnumpy())
    size = frames[0].shape[:2]
    return dict(imgs=frames, original_shape=size, img_shape=size, video_reader=None)


def _kept(results: dict[str, Any]) -> Any:
    """What was loaded, to look at: a picture, or a few frames of many."""
    if 'img' in results:
        return copy.copy(results['img'])  # later steps may write into it
    frames = results['imgs']
    spread = np.linspace(0, len(frames) - 1, min(SHOWN_FRAMES, len(frames))).round().astype(int)
    return [frames[index].copy() for index in sorted(set(spread.tolist()))]
