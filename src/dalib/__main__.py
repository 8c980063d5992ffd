"""``python -m dalib``."""

from __future__ import annotations

import sys

from dalib.cli import run
from dalib.console import occupy_standard_files


def main() -> None:
    """The entry point of the ``dalib`` command."""
    occupy_standard_files()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
