"""Methods of domain adaptation: each one file, each fulfilling :class:`dalib.core.types.Method`."""
