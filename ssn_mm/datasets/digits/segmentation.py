"""The digits' segmentation world as an mmsegmentation dataset."""

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS

from .drawing import CLASSES, PALETTE, write_segmentation


@DATASETS.register_module()
class DigitsSegDataset(BaseSegDataset):
    """Handwritten digits on textures, written to ``data_root`` when first loaded.

    Args:
        data_root: See :func:`write_segmentation`, as for the next four.
        seed: Of the world.
        num_train: Training scenes.
        num_val: Validation scenes.
        size: Height and width of a scene in pixels.
        img_suffix: Of the images.
        seg_map_suffix: Of the annotations.
        reduce_zero_label: As for ADE20K, 0 in the files is not a class.
        **kwargs: Of ``BaseSegDataset``; ``data_prefix`` chooses the split.
    """

    METAINFO = {'classes': CLASSES, 'palette': PALETTE}  # noqa: RUF012, mmengine's own form

    def __init__(
        self,
        data_root: str = 'data/digits/ade',
        seed: int = 0,
        num_train: int = 800,
        num_val: int = 200,
        size: int = 128,
        img_suffix: str = '.jpg',
        seg_map_suffix: str = '.png',
        reduce_zero_label: bool = True,
        **kwargs,
    ) -> None:
        self._world = (seed, num_train, num_val, size)
        super().__init__(
            data_root=data_root,
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix,
            reduce_zero_label=reduce_zero_label,
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Writes the world if need be: here, so that ``lazy_init`` leaves the disk alone."""
        write_segmentation(self.data_root, *self._world)
        return super().load_data_list()
