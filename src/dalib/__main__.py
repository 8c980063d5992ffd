"""``python -m dalib``."""

from __future__ import annotations

import sys

from dalib.commands.main import run
from dalib.core.console import occupy_standard_files


def main() -> None:
    """The entry point of the ``dalib`` command."""
    occupy_standard_files()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
