"""Runs a command line twice in one process, which imports everything once: the second finds what the first has left."""

import sys

from dalib.commands.main import run
from dalib.engine.distributed import joined

if __name__ == "__main__":
    with joined():
        print(f"the first ended with {run(sys.argv[1:])}", flush=True)
        code = run(sys.argv[1:])
    sys.exit(code)
