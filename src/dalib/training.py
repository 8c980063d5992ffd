"""One training of a run: from the configuration to a saved model, and what is looked at on the way."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from dalib import build
from dalib.adaptation.self_ensemble import SelfEnsemble
from dalib.console import TrainingProgress, say
from dalib.data.prefetch import Prefetched
from dalib.domains import to_features
from dalib.engine.checkpoint import CheckpointFolder
from dalib.engine.fit import Every, fit, restore
from dalib.engine.keep import KeepBest, kept_step, lines_until, most_confident
from dalib.engine.predict import recompute_statistics
from dalib.engine.runlog import MetricsLog
from dalib.errors import CollapsedError
from dalib.feature_space import FeatureSpace, features_folder, one_by_one, standardization
from dalib.judge.evidence import effective_classes, quick_scores
from dalib.judge.guard import collapse_sign
from dalib.judge.selection import trusted_correlation
from dalib.judging import JudgedImages
from dalib.models.saved import ModelDescription, load_tensors, save_model
from dalib.priors import estimated, first_prior

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import torch
    from torch import nn

    from dalib.build import Inputs
    from dalib.config import TrainConfig
    from dalib.data.prefetch import Stream
    from dalib.data.preprocessing import Preprocessing
    from dalib.domains import Domains
    from dalib.judge.evidence import Evidence
    from dalib.runfolder import TrainingFolder
    from dalib.starting import Start
    from dalib.types import Batch, Method


@dataclass(frozen=True)
class Ways:
    """What the trainings of a run take: images, or features of a frozen backbone in their place.

    Attributes:
        domains: their rows.
        inputs: of a network of images.
        space: the features, if it is these.
    """

    domains: Domains
    inputs: Inputs
    device: torch.device
    space: FeatureSpace | None = None

    @classmethod
    def of_run(
        cls,
        config: TrainConfig,
        preprocessing: Preprocessing,
        domains: Domains,
        device: torch.device,
        start: Start | None,
    ) -> Ways:
        """As the configuration says; features are computed where they are not kept."""
        inputs = build.image_inputs(config, preprocessing)
        if not config.features:
            return cls(domains, inputs, device)
        network = build.make_student(config, inputs.architecture, len(domains.train.classes))
        if start is not None:  # one backbone for both trainings, that of the run's own model
            build.load_first(network, start.weights_for(build.name_of_training(config)))
        space = FeatureSpace.of(network, preprocessing, features_folder(), device, config.model.averaged_views)
        return cls(to_features(space, domains, inputs, config), inputs, device, space)

    def of(self, name: str) -> tuple[Inputs, Callable[[nn.Module], nn.Module] | None]:
        """The inputs of the training of that name, and what makes a network of images of the one that is trained.

        The adapted network is standardised for the target; the source-only one knows the source alone.
        """
        space, architecture = self.space, self.inputs.architecture
        if space is None:
            return self.inputs, None
        if not space.network.standardize:
            return space.inputs(architecture), lambda head: space.whole(head, None)
        of_source = standardization(cast("Tensor", self.domains.train.images), self.device)
        of_target = of_source
        if name == "adapted":
            of_target = standardization(cast("Tensor", self.domains.target.images), self.device)
        return space.inputs(architecture, of_source, of_target), lambda head: space.whole(head, of_target)


@dataclass(frozen=True)
class Plan:
    """One training, as far as it is decided before it begins.

    Attributes:
        name: adapted or source-only.
        config: its steps are given.
        inputs: the network, and how rows reach it.
        first: weights to start from, as far as they go.
        whole: makes of the trained network one that takes images; None where it does.
        before: what the source-only model says, where there is one.
    """

    name: str
    config: TrainConfig
    folder: TrainingFolder
    domains: Domains
    inputs: Inputs
    preprocessing: Preprocessing
    device: torch.device
    first: Mapping[str, Tensor]
    whole: Callable[[nn.Module], nn.Module] | None = None
    before: Evidence | None = None


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Attributes:
        model: the network, which takes the plan's inputs.
        evidence: what it says of the images that judge.
        step: of its weights.
        ended: the last step.
        stopped: why training ended early; empty where it did not.
        prior: (C,) the class shares that it expected in the end; None for a method that expects none.
    """

    model: nn.Module
    evidence: Evidence
    step: int
    ended: int
    stopped: str
    prior: Tensor | None


def train_one(plan: Plan, *, resume: bool, on_evidence: Callable[[str, int, Evidence], None] | None = None) -> Trained:
    """Train and save one model.

    Raises:
        UserError: a setting, or weights, that do not fit.
        TrainingDivergedError: a loss that is not finite.
    """
    config, folder, domains, inputs, device = plan.config, plan.folder, plan.domains, plan.inputs, plan.device
    assert config.steps is not None
    steps = config.steps
    folder.root.mkdir(parents=True, exist_ok=True)
    classes = domains.train.classes
    training = build.make_training(
        config,
        inputs,
        domains.train_adapted if plan.name == "adapted" else domains.train,
        domains.target,
        device,
        steps=steps,
        first=plan.first,
        prior=first_prior(config.prior, domains.train.labels, classes, plan.before),
    )
    method, stream = training.method, training.stream
    description = ModelDescription(build.architecture_of(config, plan.preprocessing), classes, plan.preprocessing)

    def save(to: Path, model: nn.Module) -> None:
        save_model(to, model if plan.whole is None else plan.whole(model), description)

    judged = JudgedImages.of(domains, inputs, device)
    keep: KeepBest | None = None
    if config.select != "last":
        keep = KeepBest(folder.kept, folder.metrics, _score_of(config), lambda to: save(to, method.predictor()))

    def evaluate(step: int) -> dict[str, float]:
        evidence = judged.look(method.predictor(), method.student)
        if config.prior == "estimate" and isinstance(method, SelfEnsemble):
            method.set_prior(estimated(evidence))
        if on_evidence is not None:
            on_evidence(plan.name, step, evidence)
        return quick_scores(evidence, config.self_ensemble.threshold)

    def after_evaluation(step: int) -> None:
        if keep is not None:
            keep(step)
        if plan.name == "adapted":
            _stop_at_collapse(folder, step, plan.before)

    checkpoints = CheckpointFolder(folder.checkpoints)
    start = restore(method, training.optimizer, checkpoints, device) if resume else 0
    in_memory = all(isinstance(rows, Tensor) for rows in (domains.train.images, domains.target.images))
    ahead: AbstractContextManager[Stream[Batch]]
    ahead = nullcontext(stream) if in_memory else Prefetched(stream, end=steps)
    ended, stopped = steps, ""
    with ahead as batches, TrainingProgress(plan.name, steps, sys.stdout, start=start) as progress:
        try:
            fit(
                method,
                training.optimizer,
                batches,
                steps=steps,
                schedule=training.schedule,
                seed=config.seed,
                log=MetricsLog(folder.metrics, after=start, on_line=progress.line),
                checkpoints=checkpoints,
                evaluate=evaluate,
                after_evaluation=after_evaluation,
                every=Every(config.every.log, config.every.evaluate, config.every.checkpoint),
                start=start,
                autocast=build.PRECISIONS[config.precision],
                accumulate=config.accumulate,
            )
        except CollapsedError as error:
            ended, stopped = error.step, error.reason
    if stopped:
        say(f"{plan.name} stopped at step {ended}: {stopped}")
    model, step = method.predictor(), ended
    if keep is not None:
        kept = load_tensors(keep.model)
        model.load_state_dict({name: kept[name] for name in model.state_dict()})
        step = kept_step(folder.kept)
    if config.statistics == "recomputed":
        plain = inputs.plain if plan.whole is None else lambda rows: one_by_one(inputs.plain(rows))
        recompute_statistics(model, domains.target.images, plain, device=device)
    save(folder.model, model)
    return Trained(model, judged.look(model), step, ended, stopped, _prior_of(method))


def _score_of(config: TrainConfig) -> Callable[[Sequence[dict[str, Any]]], float]:
    return trusted_correlation if config.select == "judged" else partial(most_confident, every=config.every.evaluate)


def _stop_at_collapse(folder: TrainingFolder, step: int, before: Evidence | None) -> None:
    course = [line for line in lines_until(folder.metrics, step) if "target_classes" in line]
    reference = None if before is None else effective_classes(before.histogram)
    if sign := collapse_sign(course, reference):
        raise CollapsedError(step, sign)


def _prior_of(method: Method) -> Tensor | None:
    return method.class_balance_loss.prior.cpu() if isinstance(method, SelfEnsemble) else None
