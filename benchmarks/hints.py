"""Hints beside the adaptation: simulated ones, right to 60, 75 and 90%, wrong at random or in a pattern.

    python benchmarks/hints.py --root data --backbone lite0 --steps 400 --directions A:W D:A
    python benchmarks/hints.py --pairs pairs/clothes/catalogue:pairs/clothes/user_photo

``indNN`` are labels of which NN% are right and the others any other class; ``patNN`` name the next class where they are
wrong; ``clsNN`` are right for NN% of the classes and name the next class for each image of the others; ``noise`` is
drawn at random; ``source-only`` and ``aligned`` are the run's own models given as hints. Labels of the target make the
simulated hints and measure; they choose nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from arguments import direction, in_short
from worlds import CPU, add_arguments, baselines_of, config_of, inputs_of, pair_of

from dalib.engine.evaluate import plain_representation
from dalib.engine.results import InMemory
from dalib.run.judge import judge
from dalib.run.recipe import recipe
from dalib.run.recipe.task import Task, train_task, trusted_hints

if TYPE_CHECKING:
    from torch import Tensor

    from dalib.run.recipe.run_models import RunModels
    from dalib.run.settings.config import TrainConfig

KINDS = ("noise", "ind60", "ind75", "ind90", "pat60", "pat75", "pat90", "cls60", "source-only", "aligned")


def simulated(kind: str, truth: Tensor, classes: int, before: RunModels, seed: int) -> Tensor:
    """Returns hints (N, C) of a kind."""
    if kind in before.everything:
        return before.everything[kind].target.float()
    generator = torch.Generator().manual_seed(100 + seed)
    drawn = torch.rand(len(truth), generator=generator)
    other = (truth + torch.randint(1, classes, truth.shape, generator=generator)) % classes
    if kind == "noise":
        labels = torch.randint(classes, truth.shape, generator=generator)
    else:
        share, following = int(kind[3:]) / 100, (truth + 1) % classes
        labels = {
            "ind": torch.where(drawn < share, truth, other),
            "pat": torch.where(drawn < share, truth, following),
            "cls": torch.where(truth >= round(classes * (1 - share)), truth, following),
        }[kind[:3]]
    return torch.nn.functional.one_hot(labels, classes).float()


def print_rows(config: TrainConfig, kinds: list[str]) -> None:
    """Prints what adaptation with each kind of hints comes to, beside what the hints and the adaptation alone have."""
    with contextlib.redirect_stdout(io.StringIO()):
        shared, truth = inputs_of(config)
        before = baselines_of(config, shared)
    representation = plain_representation(shared.domains.train, shared.domains.to_predict)
    training, classes = dict(recipe.trainings(config))["adapted"], shared.domains.train.classes

    def selected(hints: Tensor | None) -> tuple[float, float, float]:
        """Returns the accuracy of the adapted and of the selected model, and the mean trust in the end."""
        with contextlib.redirect_stdout(io.StringIO()):
            trusted = trusted_hints(replace(shared, hints=hints), before, seed=training.seed)
            task = Task("adapted", training, shared.domains, shared.of("adapted")[0], InMemory(), hints=trusted)
            done = before.with_model("adapted", train_task(task, CPU, before=before.source_only))
            settings = recipe.make_judge_settings(training)
            judged = judge(done.trained, done.everything, settings, classes, representation, hints=trusted)
        trust = 0.0 if trusted is None else trusted.annotator.worth.mean().item()
        of_adapted, of_selected = (_right(done.everything[name].target, truth) for name in ("adapted", judged.shipped))
        return of_adapted, of_selected, trust

    _, alone, _ = selected(None)
    names = f"{in_short(str(config.source))}, {in_short(str(config.target))}"
    own = {name: _right(each.target, truth) for name, each in before.everything.items()}
    print(f"| {names} | none | | | {alone:.1f} | | source-only {own['source-only']:.1f} |", flush=True)
    for kind in kinds:
        hints = simulated(kind, truth, len(classes), before, config.seed)
        (adapted, shipped, trust), of_hints = selected(hints), _right(hints, truth)
        margin = shipped - max(of_hints, alone)
        print(
            f"| {names} | {kind} | {of_hints:.1f} | {adapted:.1f} | {shipped:.1f} | {margin:+.1f} | {trust:.2f} |",
            flush=True,
        )


def _right(p: Tensor, truth: Tensor) -> float:
    return 100 * (p.argmax(dim=1) == truth).double().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--pairs", nargs="*", type=direction, default=[], help="SOURCE:TARGET folders below --root")
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    folders = [tuple(str(Path(given.root, each)) for each in pair) for pair in given.pairs]
    print("| source, target | hints | right | adapted | selected | against the better of both | trust |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for source, target in folders or map(pair_of, given.directions):
        for seed in range(given.seeds):
            print_rows(config_of(source, target, given, seed), list(given.kinds))


if __name__ == "__main__":
    main()
