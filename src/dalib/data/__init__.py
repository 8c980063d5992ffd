"""From what a user points at to batches: files -> rows of uint8 images -> :class:`dalib.core.types.Batch`."""
