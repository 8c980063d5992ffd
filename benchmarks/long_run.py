"""Whether a long run grows, and what its checkpoints cost.

    OMP_NUM_THREADS=1 python benchmarks/long_run.py --steps 20000 --batch 16
    OMP_NUM_THREADS=1 python benchmarks/long_run.py --steps 1000 --batch 64

Trains fonts -> digits as `dalib train` does, the adaptation alone, in one process. Each tenth of the run gives the
processor's time of a step, which other programs on the machine disturb less than the clock, and the memory that the
process holds. The second command is the built-in example: what saving takes of its time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import resource
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dalib.engine.checkpoint import Checkpoint, CheckpointFolder
from dalib.engine.runlog import MetricsLog
from dalib.run.settings.config import TrainConfig
from dalib.run.train import train

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dalib.engine.runlog import Means


@dataclass
class Course:
    """What is seen at each line of the log, and the seconds that saving took."""

    lines: list[tuple[int, float, float]] = field(default_factory=list)
    """Steps done, the process's seconds of processor time, its resident megabytes."""
    saving: float = 0.0
    saves: int = 0


class WatchedLog(MetricsLog):
    """Notes time and memory after each line."""

    course: Course

    def write(self, means: Means, more: Mapping[str, float]) -> None:
        super().write(means, more)
        self.course.lines.append((means.step, time.process_time(), resident_megabytes()))

    def sync(self) -> None:
        before = time.perf_counter()
        super().sync()
        self.course.saving += time.perf_counter() - before


class WatchedFolder(CheckpointFolder):
    """Takes the time of each checkpoint."""

    course: Course

    def save(self, checkpoint: Checkpoint) -> None:
        before = time.perf_counter()
        super().save(checkpoint)
        self.course.saving += time.perf_counter() - before
        self.course.saves += 1


def resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--batch", type=int, default=16)
    given = parser.parse_args()
    course = WatchedLog.course = WatchedFolder.course = Course()
    import dalib.engine.results
    import dalib.engine.train

    dalib.engine.train.MetricsLog = WatchedLog  # type: ignore[attr-defined]
    dalib.engine.results.CheckpointFolder = WatchedFolder  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        out = Path(folder) / "run"
        began = time.perf_counter()
        train(TrainConfig(steps=given.steps, batch=given.batch, baseline=False, out=str(out)))
        seconds = time.perf_counter() - began
        logs = sum(path.stat().st_size for path in out.rglob("metrics.jsonl"))
        size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {given.batch} + {given.batch}\n")
    print("| steps | processor's ms a step | resident MB |\n| ---: | ---: | ---: |")
    tenth = max(1, len(course.lines) // 10)
    for end in range(2 * tenth, len(course.lines) + 1, tenth):
        (first, since, _), (last, until, memory) = course.lines[end - tenth - 1], course.lines[end - 1]
        print(f"| {first} - {last} | {1000 * (until - since) / (last - first):.2f} | {memory:.0f} |")
    share = course.saving / seconds
    print(
        f"\n{course.saves} checkpoints took {course.saving:.2f} s of {seconds:.1f} s: {share:.2%}. "
        f"Logs {logs / 1000:.0f} kB, the run's folder {size / 1e6:.1f} MB."
    )


if __name__ == "__main__":
    main()
