"""The digits dataset for segmentation: its class for mmsegmentation."""

from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .drawing import CLASSES, PALETTE, write_segmentation


@DATASETS.register_module()
class DigitsSegDataset(BaseSegDataset):
    """Handwritten digits on textures, written to ``data_root`` when first loaded.

    Args:
        data_root: The folder that :func:`write_segmentation` writes.
        seed: What the scenes follow from.
        num_train: Number of training scenes.
        num_val: Number of validation scenes.
        size: Height and width of a scene in pixels.
        tuning: Whether it is for finding recipes, of training glyphs alone.
        **kwargs: Arguments of ``BaseSegDataset``; ``data_prefix`` says the split. By default, as
            for ADE20K, pictures are .jpg, annotations .png, and 0 in these is no class.
    """

    METAINFO = {'classes': CLASSES, 'palette': PALETTE}  # noqa: RUF012, mmengine's own form

    def __init__(
        self,
        data_root: str = 'data/digits/ade',
        seed: int = 0,
        num_train: int = 800,
        num_val: int = 200,
        size: int = 128,
        tuning: bool = False,
        **kwargs,
    ) -> None:
        self._settings: dict[str, Any] = dict(
            seed=seed, num_train=num_train, num_val=num_val, size=size, tuning=tuning
        )
        ade20k = dict(img_suffix='.jpg', seg_map_suffix='.png', reduce_zero_label=True)
        super().__init__(data_root=data_root, **{**ade20k, **kwargs})

    def load_data_list(self) -> list[dict]:
        """Writes the scenes if need be: here, so that ``lazy_init`` leaves the disk alone."""
        write_segmentation(self.data_root, **self._settings)
        return super().load_data_list()
