"""From whatever holds images to batches of one shape and scale."""
