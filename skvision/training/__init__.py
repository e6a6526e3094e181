"""What plugs into skorch's training loop."""

from skvision.training._batches import BatchLoader, ImageDataset
from skvision.training._callbacks import GradientRecorder
from skvision.training._memory import keep_freed_memory

__all__ = ["BatchLoader", "GradientRecorder", "ImageDataset", "keep_freed_memory"]
