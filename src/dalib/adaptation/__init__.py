"""Methods of domain adaptation: each is one file with its settings, and fulfils :class:`dalib.core.types.Method`."""
