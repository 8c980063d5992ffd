"""How the judgement fares on targets that are unlike the source in more than their images: runs of the product.

    python benchmarks/unlike_targets.py --root data pairs/clothes/catalogue:pairs/clothes/user_photo ...

Each direction is trained on targets that are made of its images: as they are (*same*); with the first half of the
classes (*fewer*); with the last third of the classes unknown to the source (*other*); with shares of the classes that
fall tenfold (*shares*); with 60 images (*small*); with 60 images that occur five times, slightly changed (*bursts*).
``fewer`` and ``other`` are trained as what they are, and as ``auto`` takes them. Labels of the target are read after
training, to measure; they choose nothing. The score is the accuracy, with ``other`` HOS, and where ``auto`` meets
unknown images the accuracy on the known ones.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from arguments import at_least_one, direction, in_short
from PIL import Image, ImageEnhance, ImageOps

from dalib.run import train
from dalib.run.settings.image_defaults import SHORT_NAMES
from dalib.run.settings.presets import from_preset

if TYPE_CHECKING:
    from collections.abc import Callable

    from dalib.records.estimate import Estimate
    from dalib.records.evaluation import MeasuredModel

Classes = dict[str, list[Path]]
"""The images of each class."""

MODELS = ("source-only", "aligned", "adapted")
SMALL = 60
COPIES = 5


@dataclass(frozen=True)
class World:
    """A way to make a target of a domain.

    Attributes:
        name: for the table.
        classes: the setting ``classes`` of the run.
        source, target: choose the images of each domain.
        groups: the setting ``groups`` of the run.
    """

    name: str
    classes: str
    source: Callable[[Classes], Classes]
    target: Callable[[Classes], Classes]
    groups: str | None = None


@dataclass(frozen=True)
class Found:
    """What a run came to: the score of each model in percent, and the judgement."""

    scores: dict[str, float]
    selected: str
    outcome: str
    baseline: str
    probability: float | None
    estimate: tuple[float, float, float] | None

    @property
    def below(self) -> float:
        return max(self.scores.values()) - self.scores[self.selected]


def whole(images: Classes) -> Classes:
    return images


def first_half(images: Classes) -> Classes:
    return {name: images[name] for name in sorted(images)[: max(2, len(images) // 2)]}


def without_last_third(images: Classes) -> Classes:
    return {name: images[name] for name in sorted(images)[: len(images) - max(1, len(images) // 3)]}


def falling(images: Classes) -> Classes:
    last = max(1, len(images) - 1)
    return {
        name: images[name][: max(2, round(len(images[name]) * 10 ** (-index / last)))]
        for index, name in enumerate(sorted(images))
    }


def few(images: Classes) -> Classes:
    each = max(1, SMALL // len(images))
    return {name: of_class[:each] for name, of_class in images.items()}


WORLDS = (
    World("same", "same", whole, whole),
    World("fewer, as fewer", "fewer", whole, first_half),
    World("fewer, as auto", "auto", whole, first_half),
    World("other, as other", "other", without_last_third, whole),
    World("other, as auto", "auto", without_last_third, whole),
    World("shares", "same", whole, falling),
    World("small", "same", whole, few),
    World("bursts", "same", whole, few, groups=r"-([0-9]+)-copy[0-9]\.png$"),
)


def images_of(folder: Path, most: int) -> Classes:
    """Draws at most so many images of a domain, as many of each class."""
    generator = random.Random(0)
    names = sorted(each.name for each in folder.iterdir() if each.is_dir())
    found = {}
    for name in names:
        files = sorted(each for each in (folder / name).rglob("*") if each.is_file())
        generator.shuffle(files)
        found[name] = files[: max(1, most // len(names))]
    return found


def place(images: Classes, folder: Path, world: World) -> Path:
    """Copies the images into a folder of classes."""
    for name, files in images.items():
        (folder / name).mkdir(parents=True)
        for number, file in enumerate(files):
            if world.groups is None:
                shutil.copy(file, folder / name / f"{number}{file.suffix}")
            else:
                _write_burst(file, folder / name, number)
    return folder


def _write_burst(file: Path, folder: Path, number: int) -> None:
    """Writes copies that differ as photographs of one burst do: a little shifted, a little brighter or darker."""
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    generator = random.Random(f"{folder.name}-{number}")
    for copy in range(COPIES):
        left, top = (generator.randint(0, max(1, side // 30)) for side in image.size)
        changed = image.crop((left, top, image.width, image.height))
        changed = ImageEnhance.Brightness(changed).enhance(generator.uniform(0.93, 1.07))
        changed.save(folder / f"{folder.name}-{number}-copy{copy}.png")


def run_of(world: World, source: Classes, target: Classes, given: argparse.Namespace) -> Found:
    """Trains and judges as `dalib train` does."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.redirect_stdout(io.StringIO()):
        base = Path(temporary)
        plain = World("", "same", whole, whole)
        from_ = place(world.source(source), base / "source", plain)
        images = world.target(target)
        to = measured = place(images, base / "target", world)
        if world.classes == "auto" and images.keys() - world.source(source).keys():
            known = {name: images[name] for name in world.source(source)}
            measured = place(known, base / "known", world)
        config = from_preset(
            "photo-features",
            source=str(from_),
            target=str(to),
            evaluate=str(measured),
            out=str(base / "run"),
            classes=world.classes,
            groups=world.groups,
            features=given.views,
            steps=given.steps,
            **{"every.evaluate": max(1, given.steps // 4)},
            **SHORT_NAMES[given.backbone],
        )
        run = train.train(config)
        (evaluation,), judgement = run.read_evaluations(), run.read_judgement()
        assert judgement is not None
    estimate = judgement.models[judgement.shipped].estimate
    return Found(
        {name: 100 * _score(evaluation.models[name]) for name in MODELS if name in evaluation.models},
        judgement.shipped,
        judgement.outcome,
        judgement.baseline or "source-only",
        judgement.probability,
        _in_percent(estimate),
    )


def _in_percent(estimate: Estimate | None) -> tuple[float, float, float] | None:
    if estimate is None or estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    return 100 * estimate.value, 100 * estimate.low, 100 * estimate.high


def _score(model: MeasuredModel) -> float:
    hos = None if model.open_set is None else model.open_set.hos
    return model.accuracy if hos is None else hos


def print_summary(world: World, rows: list[Found]) -> None:
    means = " | ".join(f"{fmean(each.scores[name] for each in rows if name in each.scores):.1f}" for name in MODELS)
    selected = fmean(each.scores[each.selected] for each in rows)
    better = sum(each.below <= 1 for each in rows)
    helped = [each.scores["adapted"] > each.scores[each.baseline] for each in rows if each.outcome == "helped"]
    hurt = [each.scores["adapted"] <= each.scores[each.baseline] for each in rows if each.outcome == "hurt"]
    known = [(said, each.scores[each.selected]) for each in rows if (said := each.estimate) is not None]
    if known and world.classes != "other":  # estimates are of known images, and HOS of all
        error = f"{fmean(abs(said[0] - truth) for said, truth in known):.1f}"
        inside = f"{sum(said[1] <= truth <= said[2] for said, truth in known)} of {len(known)}"
    else:
        error = inside = "-"
    print(
        f"| {world.name} | {len(rows)} | {means} | {selected:.1f} | {better} of {len(rows)} | "
        f"{fmean(each.below for each in rows):.1f} | {max(each.below for each in rows):.1f} | "
        f"{sum(helped)} of {len(helped)} | {sum(hurt)} of {len(hurt)} | {error} | {inside} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directions", nargs="+", type=direction, metavar="SOURCE:TARGET", help="folders below --root")
    parser.add_argument("--root", type=Path, default=Path("data"))
    parser.add_argument("--backbone", default="lite0", choices=sorted(SHORT_NAMES))
    parser.add_argument("--most", type=at_least_one, default=300, help="images of a domain")
    parser.add_argument("--steps", type=at_least_one, default=800)
    parser.add_argument("--views", type=at_least_one, default=2)
    parser.add_argument("--worlds", nargs="+", choices=[each.name for each in WORLDS], help="all, unless given")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, list[Found]] = {}
    for pair in given.directions:
        source, target = (images_of(given.root / each, given.most) for each in pair)
        for world in WORLDS:
            if given.worlds is None or world.name in given.worlds:
                row = run_of(world, source, target, given)
                found.setdefault(world.name, []).append(row)
                scores = ", ".join(f"{name} {score:.1f}" for name, score in row.scores.items())
                print(
                    f"{in_short(pair[0])} to {in_short(pair[1])}, {world.name}: {scores}; {row.selected} is selected, "
                    f"{row.outcome} ({row.probability}); estimate {row.estimate}",
                    flush=True,
                )
    print(
        "\n| target | runs | source-only | aligned | adapted | selected | the best model or 1 point below | "
        "below the best, mean | most | helped, right | hurt, right | estimate: error | the truth is inside |\n"
        f"| --- |{' ---: |' * 12}"
    )
    for world in WORLDS:
        if world.name in found:
            print_summary(world, found[world.name])


if __name__ == "__main__":
    main()
