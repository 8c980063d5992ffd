"""``python -m dalib``."""

from __future__ import annotations

import sys

from dalib.cli import run


def main() -> None:
    """The entry point of the ``dalib`` command."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
