"""Whether the trained last stages of a backbone beat their start, the head on the frozen backbone.

    python benchmarks/stages.py --root data --pairs pairs/steel/neu:pairs/steel/xsdd ...

Two runs a direction, with pretrained normalisation statistics, since stages that are trained on both domains have no
other: one of a head on stored features, and one of ``--model.trained_stages`` that goes on from the same head. The
first has the baselines and the start of the second. ``compare`` tells which one a user would be led to without labels.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import time
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch
from arguments import at_least_one, direction
from few_labels import accuracies

from dalib.run.finished.compare import compare_runs
from dalib.run.settings.image_defaults import SHORT_NAMES
from dalib.run.settings.presets import from_preset
from dalib.run.train import train

COLUMNS = ("source-only", "aligned", "start", "stages", "selected of the start's run", "of the stages' run", "compared")


def some_of(folder: Path, most: int, to: Path) -> Path:
    """Links at most so many images of a folder of classes, about equally many of each; returns the new folder."""
    classes = sorted(each for each in folder.iterdir() if each.is_dir())
    for each in classes:
        files = sorted(file for file in each.iterdir() if file.is_file())
        random.Random(each.name).shuffle(files)
        (to / each.name).mkdir(parents=True)
        for file in files[: most // len(classes)]:
            (to / each.name / file.name).symlink_to(file.resolve())
    return to


def measured(source: Path, target: Path, given: argparse.Namespace, seed: int, folder: Path) -> tuple[list[float], int]:
    """Trains both runs; returns what COLUMNS name, in percent, and the seconds of the second run."""
    settings = {
        "source": str(some_of(source, given.most, folder / "source")),
        "target": str(some_of(target, given.most, folder / "target")),
        "features": given.views,
        "steps": given.steps,
        "seed": seed,
        "model.domain_statistics": 0.0,
        **SHORT_NAMES[given.backbone],
    }
    start, stages = folder / "start", folder / "stages"
    with contextlib.redirect_stdout(io.StringIO()):
        train(from_preset("photo-features", **settings, out=str(start)))
        since = time.perf_counter()
        own = {"model.trained_stages": given.stages, "stages.steps": given.stages_steps}
        train(from_preset("photo-features", **settings, **own, out=str(stages)))
        seconds = time.perf_counter() - since
        best = compare_runs([start, stages])[0]
    first, second = accuracies(start, set()), accuracies(stages, set())
    chosen = second if Path(best).name == stages.name else first
    values = [first["source-only"], first["aligned"], first["adapted"], second["adapted"]]
    return [*values, first["selected"], second["selected"], chosen["selected"]], round(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data")
    parser.add_argument("--pairs", nargs="+", type=direction, required=True, help="SOURCE:TARGET folders below --root")
    parser.add_argument("--most", type=int, default=300, help="images of a domain")
    parser.add_argument("--backbone", default="lite0", choices=sorted(SHORT_NAMES))
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--steps", type=int, default=800, help="of the head")
    parser.add_argument("--stages", type=int, default=2, help="how many are trained")
    parser.add_argument("--stages-steps", type=int, default=400)
    parser.add_argument("--seeds", type=at_least_one, default=1)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(
        f"| source, target | seed | {' | '.join(COLUMNS)} | seconds |\n| --- | ---: |{' ---: |' * (len(COLUMNS) + 1)}"
    )
    found = []
    for pair in given.pairs:
        source, target = (Path(given.root, each) for each in pair)
        for seed in range(given.seeds):
            with TemporaryDirectory() as folder:
                values, seconds = measured(source, target, given, seed, Path(folder))
            found.append(values)
            shown = " | ".join(f"{each:.1f}" for each in values)
            print(f"| {', '.join(pair)} | {seed} | {shown} | {seconds} |", flush=True)
    means = " | ".join(f"{fmean(each):.1f}" for each in zip(*found, strict=True))
    print(f"| mean of {len(found)} | | {means} | |")


if __name__ == "__main__":
    main()
