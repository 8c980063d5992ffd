"""Runs a Python program in two processes of torchrun's agent, forked from one that has the library imported.

python forked_ranks.py PROGRAM ARGUMENTS

The import takes longer than what they do, and torchrun would have it three times: in its own process, which imports
torch, and in each of the two.
"""

import os
import runpy
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

import dalib.commands.main
import dalib.run.finished.features
import dalib.run.finished.predict  # noqa: F401


def program(*arguments: str) -> None:
    sys.argv = [*arguments]
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as left:
        if left.code:
            raise RuntimeError(f"ended with {left.code}") from None


if __name__ == "__main__":
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="fork" if hasattr(os, "fork") else "spawn",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, program)(*sys.argv[1:])
    except ChildFailedError as error:
        sys.exit(f"{error}")
