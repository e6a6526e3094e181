"""Data sets as scikit-learn wants them."""

from skvision.datasets._adapters import as_Xy
from skvision.datasets._sequence import ImageSequence

__all__ = ["ImageSequence", "as_Xy"]
