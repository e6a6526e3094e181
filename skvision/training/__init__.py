"""What plugs into skorch's training loop."""

from skvision.training._batches import BatchLoader, ImageDataset
from skvision.training._callbacks import GradientRecorder

__all__ = ["BatchLoader", "GradientRecorder", "ImageDataset"]
