"""One training of a run, and its finished model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dalib.adaptation.hints import TrustedHints, hold_back
from dalib.core.console import CountedProgress
from dalib.engine.distributed import ALONE, World
from dalib.engine.evaluate import evaluated_rows
from dalib.engine.train import NOBODY, Observer, Statistics, Trained, train
from dalib.models.network import make_predictor
from dalib.run.classes.prior import first_prior
from dalib.run.features.feature_space import one_by_one
from dalib.run.recipe import recipe
from dalib.run.recipe.run_models import FinishedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from dalib.engine.evaluate import Evaluator
    from dalib.engine.results import Results
    from dalib.judge.evidence import Confidence, Evidence
    from dalib.models.classifier import ImageClassifier
    from dalib.run.classes.expected_target import ExpectedTarget
    from dalib.run.features.inputs import Inputs
    from dalib.run.recipe.run_models import RunModels
    from dalib.run.recipe.shared_inputs import TrainingInputs
    from dalib.run.settings.config import TrainConfig
    from dalib.run.start.domains import Domains


@dataclass(frozen=True)
class Task:
    """One training, ready to start.

    Attributes:
        name: adapted, source-only, or frozen: adapted before the backbone's last stages are trained.
        config: its steps are given.
        domains: the rows; the adaptation trains on ``train_adapted``, the baseline on ``train``.
        inputs: the network, and how rows reach it.
        results: takes metrics, checkpoints and models.
        student: makes the network, where the configuration does not describe it.
        weights: what the network starts from instead of the seed's weights, as far as they go.
        statistics: what batch normalisation's statistics are recomputed on in the end.
        expected: of the target, where it seems to lack classes of the source or to have images of others.
        hints: class probabilities of the target's images by an annotator or another model, for the adaptation.
        confidence: when a target image counts as confident; of a baseline too by the run's method. None is by that of
            ``config``.
    """

    name: str
    config: TrainConfig
    domains: Domains
    inputs: Inputs
    results: Results
    student: Callable[[], ImageClassifier] | None = None
    weights: Mapping[str, Tensor] | None = None
    statistics: Statistics | None = None
    expected: ExpectedTarget | None = None
    hints: TrustedHints | None = None
    confidence: Confidence | None = None


def trusted_hints(
    inputs: TrainingInputs, done: RunModels, *, compared: bool = True, seed: int, world: World = ALONE
) -> TrustedHints | None:
    """Returns the hints of an adaptation with the first estimate of their worth; None where there are none.

    It is made of the predictions of the model that the adaptation starts as. Without a baseline hints are not used
    before the first evaluation. Where the adapted model will be compared with a baseline, a tenth of the hints is held
    back from training, to speak for either.

    Args:
        inputs: with the hints, if there are some.
        done: with the source-only model and, where there can be one, the aligned model, which hints may be copies of.
        compared: whether the adapted model will be compared with those.
        seed: of the hints that are held back.
        world: the processes that train together; the first one has the predictions.
    """
    if (given := inputs.hints) is None:
        return None
    before = [each.target.float() for name, each in done.everything.items() if name != "adapted"]
    before = world.from_first(lambda: before)
    beliefs = before[-1] if before else torch.full_like(given, 1 / given.shape[1])
    held_back, groups = None, inputs.domains.groups
    if before and compared:
        held_back = hold_back(given, seed, None if groups is None else groups.target.numbers)
    return TrustedHints(torch.stack([given, *before], dim=1), beliefs, evaluated_rows(len(given)), held_back)


def statistics_for(inputs: TrainingInputs, plain: Callable[[Tensor], Tensor], *, recomputed: bool) -> Statistics | None:
    """Returns the target's images if batch normalisation's statistics are to be recomputed on them, else None.

    A single image has none, and those of the training stay.
    """
    images = inputs.domains.target.images
    if not recomputed or len(images) < 2:
        return None
    if inputs.space is None:
        return Statistics(images, plain)
    return Statistics(images, lambda rows: one_by_one(plain(rows)))


def train_task(
    task: Task,
    device: torch.device,
    *,
    before: FinishedModel | None = None,
    resume: bool = False,
    world: World = ALONE,
    observer: Observer = NOBODY,
) -> FinishedModel:
    """Trains one model.

    Args:
        task: the training.
        device: where networks compute.
        before: the source-only model, from which an adaptation may start and whose predictions show a collapse.
        resume: continue from the last checkpoint of the task's results.
        world: the processes that train together.
        observer: its callbacks.

    Raises:
        UserError: a setting, or weights, that do not fit.
        TrainingDivergedError: a loss that is not finite.
        StoppedError: stopped between two steps, and saved.
    """
    config, domains = task.config, task.domains
    source = domains.train if task.name == "source-only" else domains.train_adapted
    assert config.steps is not None
    training = recipe.make_training(
        config,
        task.inputs,
        source,
        domains.target,
        device,
        steps=config.steps,
        initial=_initial(task, before),
        world=world,
    )
    evaluator = recipe.make_evaluator(domains, task.inputs, device)
    plan = recipe.make_plan(
        config,
        task.name,
        evaluator,
        before=None if before is None else before.evaluated,
        expected=task.expected,
        statistics=task.statistics,
        hints=task.hints,
        confidence=task.confidence,
    )
    trained = train(training, plan, task.results, resume=resume, world=world, observer=observer)
    everything = None
    if world.first:
        everything = predictions_of_all(task.name, trained, task.inputs, evaluator, shown=observer.progress)
    return FinishedModel(trained, everything)


def _initial(task: Task, before: FinishedModel | None) -> recipe.Initial:
    """Returns the start of a training; an adaptation without weights of its own starts from the source-only model's."""
    config, train, weights = task.config, task.domains.train, task.weights
    if weights is None and before is not None and config.warm_start:
        weights = before.trained.model.state_dict()
    prior = None if task.expected is None else task.expected.shares
    if prior is None:
        prior = first_prior(config.prior, train.labels, train.classes)
    return recipe.Initial(weights, prior, None if task.student is None else task.student(), task.hints)


def predictions_of_all(
    name: str, trained: Trained, inputs: Inputs, evaluator: Evaluator, *, shown: bool = True
) -> Evidence:
    """Returns the predictions of a finished model for all images."""
    predictor = make_predictor(trained.model, inputs.architecture).to(evaluator.device)
    with CountedProgress(f"predictions of {name}", brief=True) as progress:
        return evaluator.all_predictions(trained.evidence, predictor, progress if shown else None)
