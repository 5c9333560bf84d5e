"""A trained network in use: pictures and videos in, labels and overlays out."""

from .predictor import Prediction, Predictor
from .run import infer

__all__ = ['Prediction', 'Predictor', 'infer']
