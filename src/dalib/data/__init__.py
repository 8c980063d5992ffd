"""Input data, from what a user names to batches: files -> rows of uint8 images -> :class:`dalib.core.types.Batch`."""
