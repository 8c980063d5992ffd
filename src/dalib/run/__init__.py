"""A run on disk: what is decided of it after training."""
