"""What benchmarks of targets unlike the source share: the data, the models before the adaptation, the table."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from arguments import at_least_one

from dalib.data.sources import open_labelled
from dalib.engine.results import InMemory
from dalib.run.features.own_statistics import chosen_share
from dalib.run.recipe import image_network, recipe
from dalib.run.recipe.aligned import align
from dalib.run.recipe.run_models import RunModels
from dalib.run.recipe.shared_inputs import FrozenBackbone, training_inputs
from dalib.run.recipe.task import Task, train_task
from dalib.run.settings.image_defaults import SHORT_NAMES
from dalib.run.settings.presets import from_preset
from dalib.run.start.domains import open_domains

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from dalib.run.recipe.shared_inputs import TrainingInputs
    from dalib.run.settings.config import TrainConfig

CPU = torch.device("cpu")
DIRECTIONS = ("A:W", "A:D", "W:A", "W:D", "D:A", "D:W")
DOMAINS = {"A": "office31/amazon", "W": "office31/webcam", "D": "office31/dslr"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds where the data are, and the recipe."""
    parser.add_argument("--root", default="data")
    parser.add_argument("--backbone", default="lite0", choices=sorted(SHORT_NAMES), help="lite0 comes with dalib")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--seeds", type=at_least_one, default=1)
    parser.add_argument("--directions", nargs="+", default=DIRECTIONS, choices=DIRECTIONS)


def pair_of(direction: str) -> tuple[str, str]:
    """Returns source and target of a direction of Office-31, such as A:W."""
    source, target = direction.split(":")
    return DOMAINS[source], DOMAINS[target]


def config_of(source: str, target: str, given: argparse.Namespace, seed: int) -> TrainConfig:
    """Returns the recipe of a benchmark with these arguments."""
    settings = {
        "source": source,
        "target": target,
        "root": given.root,
        "features": given.views,
        "steps": given.steps,
        "seed": seed,
        "every.evaluate": max(1, given.steps // 6),
        **SHORT_NAMES[given.backbone],
    }
    return from_preset("photo-features", **settings)


def inputs_of(config: TrainConfig) -> tuple[TrainingInputs, Tensor]:
    """Returns the inputs of a run's trainings, and the labels of its target, which only measure."""
    preprocessing, request = image_network.make_preprocessing(config), recipe.make_data_request(config)
    domains = open_domains(request, preprocessing)
    classes, share = list(domains.train.classes), config.model.domain_statistics
    network = image_network.make_network(config, preprocessing, len(classes))
    space = image_network.make_feature_space(config, network, preprocessing, CPU)
    frozen = FrozenBackbone(space, chosen_share(space, domains) if share == "auto" else share)
    images = image_network.image_inputs(config, preprocessing)
    shared = training_inputs(images, request, domains, CPU, frozen=frozen)
    assert isinstance(config.target, str), "one target"
    return shared, open_labelled(config.target, preprocessing, classes, root=config.root, cache="disk").labels.long()


def baselines_of(config: TrainConfig, shared: TrainingInputs) -> RunModels:
    """Trains the source-only model, and aligns it."""
    own = shared.of("source-only")[0]
    training = dict(recipe.trainings(config))["source-only"]
    source_only = train_task(Task("source-only", training, shared.domains, own, InMemory()), CPU)
    done, aligned = RunModels({"source-only": source_only}), align(source_only, shared)
    return done if aligned is None else done.with_model("aligned", aligned)


def adapted(training: TrainConfig, inputs: TrainingInputs, before: RunModels) -> RunModels:
    """Returns the baselines and an adapted model."""
    own, expected = inputs.of("adapted")[0], inputs.expected
    task = Task("adapted", training, inputs.domains, own, InMemory(), expected=expected)
    adapted = train_task(task, CPU, before=before.source_only)
    return replace(before.with_model("adapted", adapted), expected=expected)


def print_table(
    pairs: Iterable[tuple[str, str]],
    given: argparse.Namespace,
    columns: Sequence[str],
    score: Callable[[TrainConfig], dict[str, float]],
) -> None:
    """Prints a row of means over seeds for each source and target, and the mean of all."""
    torch.set_num_threads(1)
    print(f"| source, target | {' | '.join(columns)} |\n| --- |{' ---: |' * len(columns)}")
    means: list[dict[str, float]] = []
    for source, target in pairs:
        of_seeds = []
        for seed in range(given.seeds):
            with contextlib.redirect_stdout(io.StringIO()):
                of_seeds.append(score(config_of(source, target, given, seed)))
        means.append(_mean(of_seeds, columns))
        print(f"| {source}, {target} | {_row(means[-1])} |", flush=True)
    print(f"| mean | {_row(_mean(means, columns))} |")


def _mean(found: Sequence[dict[str, float]], columns: Sequence[str]) -> dict[str, float]:
    return {name: fmean(each[name] for each in found) for name in columns}


def _row(found: dict[str, float]) -> str:
    return " | ".join(f"{value:.1f}" for value in found.values())
