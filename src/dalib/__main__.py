"""``python -m dalib``."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point of the ``dalib`` command."""
    try:
        from dalib.commands.main import run  # takes a quarter of a second, in which Ctrl-C may come
        from dalib.core.console import occupy_standard_files
    except KeyboardInterrupt:
        if sys.stderr is not None:  # as where the process was started without one
            sys.stderr.write("dalib: stopped\n")
        sys.exit(130)
    occupy_standard_files()
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
