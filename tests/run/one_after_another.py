"""Runs command lines, with ``then`` between them, in one process, which imports everything once.

Each finds what those before it have left. The process ends with the code of the last one.
"""

import os
import sys
from itertools import groupby

from dalib.commands.main import run
from dalib.engine.distributed import joined

THEN = "then"

if __name__ == "__main__":
    code, lines = 0, [[*line] for then, line in groupby(sys.argv[1:], THEN.__eq__) if not then]
    with joined():
        for number, line in enumerate(lines, start=1):
            code = run(line)
            print(f"rank {os.environ['RANK']}: line {number} ended with {code}", flush=True)
    sys.exit(code)
