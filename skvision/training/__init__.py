"""What plugs into skorch's training loop."""

from skvision.training._batches import BatchLoader, ImageDataset

__all__ = ["BatchLoader", "ImageDataset"]
