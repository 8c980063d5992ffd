"""What labels of a few target images bring: 0, 1 and 3 of each class on average, chosen by ``query`` and at random.

    python benchmarks/few_labels.py --root data --directions D:A A:W
    python benchmarks/few_labels.py --root data --pairs pairs/steel/neu:pairs/steel/xsdd

A run without labels comes first, and ``dalib query`` chooses by its models. Each list of labels then is
``--target_labels`` of a run of its own. All runs are measured on the same images: those that are in no list.
``random`` draws the same number from each class, which somebody can only do who knows the classes already.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from arguments import direction, in_short
from worlds import add_arguments, pair_of

from dalib.core.files import read_json
from dalib.records.folder import RunFolder
from dalib.run.finished.query import query
from dalib.run.finished.target_predictions import target_predictions
from dalib.run.settings.image_defaults import SHORT_NAMES
from dalib.run.settings.presets import from_preset
from dalib.run.train import train

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODELS = ("source-only", "aligned", "adapted", "selected")


def drawn_of_each_class(names: Sequence[str], count: int, seed: int) -> list[str]:
    """Returns images with as many of each class; those for a smaller count are among those for a larger one."""
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(1000 + seed)).tolist()
    of_class: dict[str, list[str]] = {}
    for row in order:
        of_class.setdefault(_class_of(names[row]), []).append(names[row])
    return [name for own in of_class.values() for name in own[:count]]


def write_random(names: Sequence[str], count: int, file: Path, seed: int) -> set[str]:
    """Writes a list of so many images of each class with their labels, and returns the images."""
    chosen = drawn_of_each_class(names, count, seed)
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerows([("path", "label"), *((name, _class_of(name)) for name in chosen)])
    return set(chosen)


def write_queried(run: Path, count: int, file: Path, seed: int) -> set[str]:
    """Lets ``query`` choose so many images, labels them as a person would, and returns them."""
    query(run, count, str(file), seed=seed)
    with file.open(newline="") as written:
        rows = list(csv.DictReader(written))
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0].keys())
        writer.writeheader()
        writer.writerows({**row, "label": _class_of(row["path"])} for row in rows)
    return {row["path"] for row in rows}


def accuracies(run: Path, without: set[str]) -> dict[str, float]:
    """Returns the accuracy of each model and of the selected one, in percent, on the images that are not left out."""
    names, predictions = target_predictions(RunFolder.of(run))
    classes = read_json(run / "summary.json")["classes"]
    truth = torch.tensor([classes.index(_class_of(name)) for name in names])
    rows = torch.tensor([row for row, name in enumerate(names) if name not in without])
    found = {name: 100 * (p.argmax(dim=1) == truth)[rows].double().mean().item() for name, p in predictions.items()}
    return {**found, "selected": found[RunFolder.of(run).selection().model]}


def measured(settings: Mapping[str, object], counts: Sequence[int], folder: Path) -> dict[str, dict[str, float]]:
    """Trains without labels and with each list of them; returns the accuracies by what was labelled."""

    def trained(name: str, labels: Path | None) -> Path:
        labelled = {} if labels is None else {"target_labels": str(labels)}
        with contextlib.redirect_stdout(io.StringIO()):
            train(from_preset("photo-features", **settings, **labelled, out=str(folder / name)))
        return folder / name

    seed = int(str(settings["seed"]))
    runs, lists = {"none": trained("none", None)}, set[str]()
    names = read_json(runs["none"] / "images.json")["target"]
    classes = len({_class_of(name) for name in names})
    for count in counts:
        for how in ("query", "random"):
            name = f"{count} by {how}" if how == "query" else f"{count} at random"
            file = folder / f"{how}-{count}.csv"
            with contextlib.redirect_stdout(io.StringIO()):
                if how == "query":
                    lists |= write_queried(runs["none"], count * classes, file, seed)
                else:
                    lists |= write_random(names, count, file, seed)
            runs[name] = trained(f"{how}-{count}", file)
    return {name: accuracies(run, lists) for name, run in runs.items()}


def _class_of(image: str) -> str:
    return Path(image).parent.name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--pairs", nargs="*", type=direction, default=[], help="SOURCE:TARGET folders below --root")
    parser.add_argument("--counts", nargs="+", type=int, default=[1, 3], help="labels a class")
    given = parser.parse_args()
    torch.set_num_threads(1)
    folders = given.pairs or [[*map(_images, pair_of(each))] for each in given.directions]
    print(f"| source, target | labels a class | {' | '.join(MODELS)} |\n| --- | --- |{' ---: |' * len(MODELS)}")
    for source, target in folders:
        found: list[dict[str, dict[str, float]]] = []
        for seed in range(given.seeds):
            settings = {
                "source": str(Path(given.root, source)),
                "target": str(Path(given.root, target)),
                "features": given.views,
                "steps": given.steps,
                "seed": seed,
                "every.evaluate": max(1, given.steps // 6),
                **SHORT_NAMES[given.backbone],
            }
            with TemporaryDirectory() as folder:
                found.append(measured(settings, given.counts, Path(folder)))
        for name in found[0]:
            of_seeds = [[each[name][model] for each in found] for model in MODELS]
            shown = " | ".join(f"{fmean(each):.1f} ({min(each):.1f} to {max(each):.1f})" for each in of_seeds)
            print(f"| {in_short(source)}, {in_short(target)} | {name} | {shown} |", flush=True)


def _images(domain: str) -> str:
    return f"{domain}/images"


if __name__ == "__main__":
    main()
