"""Measures the memory of a command by its parts: what dalib train, or any other command, holds at its peak, and where.

    python benchmarks/memory.py -- dalib train --source office31/amazon --target office31/webcam --root data --out RUN

Every line that the command prints ends a part. Pages are counted as Linux counts them: *own* memory is anonymous,
*files* are mapped pages of files, such as libraries, the image cache and stored features, which the system may drop and
read again. Children, such as processes that decode, are counted too. Linux alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

INTERVAL = 0.05
"""Seconds between two looks."""


@dataclass
class Part:
    """Peaks of one part of a command, in MB: together, and both kinds at that moment."""

    ended_by: str = ""
    seconds: float = 0.0
    peak: tuple[float, float, float] = field(default=(0.0, 0.0, 0.0))


def processes_below(pid: int) -> list[int]:
    """Returns a process and its children, as far as they are still there."""
    try:
        children = [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except OSError:
        return []
    return [pid, *(each for child in children for each in processes_below(child))]


def memory_of(pid: int) -> tuple[float, float, float]:
    """Returns MB: resident together, anonymous, and of files and shared memory."""
    own = files = 0.0
    for each in processes_below(pid):
        try:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{each}/status").read_text().splitlines())
            own += int(status["RssAnon"].split()[0]) / 1024
            files += (int(status["RssFile"].split()[0]) + int(status["RssShmem"].split()[0])) / 1024
        except (OSError, KeyError):  # it has just ended
            continue
    return own + files, own, files


def parts_of(command: list[str]) -> list[Part]:
    """Runs a command, and returns its parts; what it prints goes on to the terminal.

    Raises:
        SystemExit: the command failed.
    """
    parts = [Part()]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}  # lines come when they are printed
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    over = threading.Event()

    def look() -> None:
        while not over.wait(INTERVAL):
            parts[-1].peak = max(parts[-1].peak, memory_of(process.pid))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    assert process.stdout is not None
    since = time.perf_counter()
    for line in process.stdout:
        print(line, end="", flush=True)
        now = time.perf_counter()
        parts[-1].ended_by, parts[-1].seconds = line.strip(), now - since
        since = now
        parts.append(Part())
    over.set()
    looking.join()
    if process.wait():
        raise SystemExit(f"{' '.join(command)} ended with code {process.returncode}")
    return [part for part in parts if part.ended_by]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs="+", help="command to measure, behind --")
    command = parser.parse_args().command
    if sys.platform != "linux":
        parser.error("reads /proc, which Linux alone has")
    parts = parts_of(command)
    print("\n| part that ends with this line | seconds | peak, MB | own | files |\n| --- | ---: | ---: | ---: | ---: |")
    for part in parts:
        cells = " | ".join(f"{each:.0f}" for each in part.peak)
        print(f"| {part.ended_by[:70].replace('|', '/')} | {part.seconds:.1f} | {cells} |")
    total, own, files = max(part.peak for part in parts)
    print(f"\nPeak: {total:.0f} MB, {own:.0f} of its own and {files:.0f} of files.")


if __name__ == "__main__":
    main()
