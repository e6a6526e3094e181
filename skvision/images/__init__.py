"""What X may be, and how images, labels and names of classes are read from it."""

from skvision.images._open import open_images
from skvision.images._schema import ImageSchema
from skvision.images._sequence import ImageSequence

__all__ = ["ImageSchema", "ImageSequence", "open_images"]
