"""What can be measured on one machine of what limits large data and many processes; the rest is arithmetic.

    python benchmarks/scaling.py                  # the figures of docs/scaling.md

Order: the images of a step, for data sets up to a hundred million. Listing: files a second, and bytes a name. Reading:
rows a second out of a mapped file, in the order of training. Messages: what a step of several processes sends.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import tracemalloc
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dalib.adaptation.self_ensemble import SelfEnsemble
from dalib.core.types import Batch
from dalib.data.listing import list_images
from dalib.data.preprocessing import Preprocessing
from dalib.data.stream import indices_at
from dalib.engine.distributed import joined
from dalib.engine.fit import Training, train_step
from dalib.models.network import make_classifier
from dalib.run.recipe import image_network
from dalib.run.settings.config import TrainConfig

HUNDRED_MILLION = 100_000_000


def order() -> None:
    print("\nOrder: 512 images of a step, and memory that it takes")
    print("| images | ms a step | peak KiB |\n| ---: | ---: | ---: |")
    for size in (10_000, 1_000_000, HUNDRED_MILLION):
        indices_at(0, size, 512, seed=0)
        since = time.perf_counter()
        for step in range(50):
            indices_at(step * 997, size, 512, seed=0)
        seconds = (time.perf_counter() - since) / 50
        tracemalloc.start()
        indices_at(12345, size, 512, seed=0)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(f"| {size:,} | {1000 * seconds:.2f} | {peak / 1024:.0f} |")
    ranks = torch.cat([indices_at(7, HUNDRED_MILLION, 64, seed=0, rank=rank, world=8) for rank in range(8)])
    assert torch.equal(ranks, indices_at(7, HUNDRED_MILLION, 512, seed=0)), "8 ranks see the step of one"


def listing(root: Path, count: int) -> None:
    for number in range(count):
        path = root / f"class-{number % 100:02d}" / f"image-{number:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    tracemalloc.start()
    since = time.perf_counter()
    listed = list_images(root, argument="--source")
    seconds = time.perf_counter() - since
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(listed.paths) == count
    print(
        f"\nListing: {count:,} files in {seconds:.1f} s, {count / seconds:,.0f} a second, {held / count:.0f} bytes each"
    )


def reading(root: Path, count: int, size: int) -> None:
    """Out of the page cache: what the mapping costs, not the disk."""
    row = 3 * size * size
    path = root / "images.u8"
    with path.open("wb") as file:
        file.write(os.urandom(row * 64) * (count // 64))
    images = torch.from_file(str(path), shared=False, size=count * row, dtype=torch.uint8).view(count, 3, size, size)
    images[indices_at(0, count, count, seed=1)].sum()
    since = time.perf_counter()
    for step in range(20):
        images[indices_at(step, count, 64, seed=0)]
    rate = 20 * 64 / (time.perf_counter() - since)
    print(f"\nReading: {rate:,.0f} rows of 3 x {size} x {size} a second from memory, {rate * row / 1e9:.1f} GB/s")


def messages(backbone: str, classes: int) -> None:
    config = TrainConfig(backbone=backbone)
    architecture = image_network.architecture_of(config, Preprocessing(size=256, channels=3, crop=224))
    assert architecture.timm is not None
    student = make_classifier(replace(architecture, timm=replace(architecture.timm, pretrained=True)), classes)
    method = SelfEnsemble(student, classes, class_balance_weight=0.1)
    weights = sum(each.numel() for each in method.student.parameters() if each.requires_grad)
    buffers = sum(each.numel() for each in method.student.buffers() if each.is_floating_point())
    print(f"\nMessages of {backbone} with {classes} classes, in bytes")
    print("| what | when | bytes |\n| --- | --- | ---: |")
    print(f"| gradients | each step | {4 * weights:,} |")
    print(f"| mean prediction and mask rate | each step | {4 * (classes + 1):,} |")
    print(f"| running statistics, student and teacher | each evaluation and checkpoint | {8 * buffers:,} |")
    print("| teacher's weights | never: each process averages the same student | 0 |")


def ranks(sizes: tuple[int, ...]) -> None:
    """Steps a second of processes that share this machine's cores: one thread each, the same batch for each process."""
    print("\nProcesses on this machine, one thread each, 64 images of either domain each, the network of digits")
    print("| processes | images/s | of so many alone |\n| ---: | ---: | ---: |")
    first = 0.0
    for size in sizes:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        started = []
        for rank in range(size):
            place = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "MASTER_PORT": port}
            environment = {**os.environ, **place, "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
            command = [sys.executable, __file__, "--rank"]
            started.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        said = [process.communicate()[0] for process in started]
        rate = float(said[0])
        first = first or rate
        print(f"| {size} | {rate:,.0f} | {rate / (size * first):.2f} |")


@dataclass(frozen=True)
class OneBatch:
    """A stream that gives the same batch at every step, so that no time is measured but the step's."""

    batch: Batch
    rank: int
    device = torch.device("cpu")
    images_per_step = 128
    in_memory = True

    def batch_at(self, step: int) -> Batch:
        return self.batch


def one_rank(steps: int = 30) -> None:
    torch.set_num_threads(1)
    with joined() as world:
        config = TrainConfig(backbone="digits")
        architecture = image_network.architecture_of(config, Preprocessing(size=32, channels=1))
        student = make_classifier(architecture, 10).to(memory_format=torch.channels_last)
        method = SelfEnsemble(student, 10, class_balance_weight=0.1)
        optimizer = torch.optim.Adam([{"params": student.parameters(), "initial_lr": 1e-3}])
        images = torch.randn(3, 64, 1, 32, 32)
        stream = OneBatch(Batch(images[0], torch.arange(64) % 10, (images[1], images[2])), world.rank)
        training = Training(method, optimizer, stream, lambda step: 1.0, steps + 5)
        since = 0.0
        for step in range(steps + 5):
            if step == 5:
                world.any(False)
                since = time.perf_counter()
            train_step(training, step)
        world.any(False)
        if world.first:
            print(steps * 128 * world.size / (time.perf_counter() - since))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rank", action="store_true", help="used by the script itself")
    given = parser.parse_args()
    if given.rank:
        one_rank()
        return
    print(f"{os.cpu_count()} cores of {platform.processor() or platform.machine()}, torch {torch.__version__}")
    order()
    with tempfile.TemporaryDirectory() as folder:
        listing(Path(folder) / "files", given.files)
        reading(Path(folder), count=4096, size=256)
    messages("resnet50", 31)
    ranks((1, 2))


if __name__ == "__main__":
    main()
