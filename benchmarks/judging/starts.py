"""Compares where the adaptation on features starts, and whose statistics standardise its predictions."""

from __future__ import annotations

import contextlib
import copy
import io
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from record import config_of, opened, truth_of
from tasks import PAIRS

from dalib.engine.results import InMemory
from dalib.run.features.feature_space import standardization
from dalib.run.recipe import recipe
from dalib.run.recipe.aligned import align
from dalib.run.recipe.run_models import RunModels
from dalib.run.recipe.task import Task, train_task

if TYPE_CHECKING:
    from pathlib import Path

    from tasks import Task as Case
    from torch import Tensor, nn

    from dalib.augment.stored import Standardized
    from dalib.run.recipe.shared_inputs import TrainingInputs

CPU = torch.device("cpu")
COLUMNS = ("source-only", "aligned", "scratch, views", "scratch, plain", "warm, views", "warm, plain")
"""Of the adapted models: the weights that they start from, and what the statistics of their predictions are of."""


def accuracies(case: Case, root: Path, out: Path, seed: int) -> dict[str, float]:
    """Returns what each model has on the target, in percent."""
    config = config_of(replace(case, settings={**case.settings, "seed": seed}), "good", root, out)
    with contextlib.redirect_stdout(io.StringIO()):
        config, domains, shared = opened(config)
        truth = truth_of(config, domains)
        trainings = dict(recipe.trainings(config))
        source_only = train_task(
            Task("source-only", trainings["source-only"], shared.domains, shared.of("source-only")[0], InMemory()), CPU
        )
        aligned = align(source_only, shared)
        assert aligned is not None
        done = RunModels({"source-only": source_only, "aligned": aligned})
        found = {name: _right(done.everything[name].target, truth) for name in ("source-only", "aligned")}
        of_views = standardization(shared.domains.target.images, CPU)
        for start, warm in (("scratch", False), ("warm", True)):
            training = replace(trainings["adapted"], warm_start=warm)
            task = Task("adapted", training, shared.domains, shared.of("adapted")[0], InMemory())
            adapted = train_task(task, CPU, before=source_only)
            assert adapted.everything is not None
            found[f"{start}, views"] = _right(_predicted(adapted.trained.model, shared, of_views), truth)
            found[f"{start}, plain"] = _right(adapted.everything.target, truth)
    return found


def _predicted(model: nn.Module, shared: TrainingInputs, standardized: Standardized) -> Tensor:
    """Returns the mean probabilities (M, C) over the plain views, standardised otherwise than the run does."""
    rows = shared.domains.to_predict[torch.arange(len(shared.domains.to_predict))].float()
    network = copy.deepcopy(model).eval()
    with torch.inference_mode():
        views = [network(standardized(rows[:, view])).softmax(dim=1) for view in range(rows.shape[1])]
    return torch.stack(views).mean(dim=0)


def _right(p: Tensor, truth: Tensor) -> float:
    return 100 * (p.argmax(dim=1) == truth).double().mean().item()


def starts(root: Path, out: Path, seeds: int) -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    print(f"| direction | {' | '.join(COLUMNS)} |\n| --- |{' ---: |' * len(COLUMNS)}")
    every: list[dict[str, float]] = []
    for case in PAIRS:
        of_seeds = [accuracies(case, root, out, seed) for seed in range(seeds)]
        every += of_seeds
        print(f"| {case.name} | {_row(of_seeds)} |", flush=True)
    print(f"| mean | {_row(every)} |")


def _row(found: list[dict[str, float]]) -> str:
    return " | ".join(f"{fmean(each[name] for each in found):.1f}" for name in COLUMNS)
