"""The data of configs: their samples and files, read and checked; and the digits dataset."""

from ..renamed import refuse_renamed

__getattr__ = refuse_renamed(
    __name__,
    {
        'CLASSES': 'ssn_mm.datasets.digits.CLASSES',
        'PALETTE': 'ssn_mm.datasets.digits.PALETTE',
        'write_segmentation': 'ssn_mm.datasets.digits.write_segmentation',
    },
)
