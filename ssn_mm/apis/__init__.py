"""A trained network in use: pictures and videos in, labels and overlays out."""

from ..renamed import refuse_renamed
from .predictor import Prediction, Predictor

__all__ = ['Prediction', 'Predictor']

__getattr__ = refuse_renamed(__name__, {'infer': 'ssn_mm.cli.infer.infer'})
