"""Domain adaptation by self-ensembling: labelled source images in, a classifier for the unlabelled target out.

The method's building blocks live in :mod:`dalib.adaptation.self_ensemble`; the command line is ``dalib --help``.
"""

from dalib._version import __version__

__all__ = ["__version__"]
