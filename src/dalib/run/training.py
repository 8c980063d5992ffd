"""One training of a run: from the configuration to a saved model, and what is looked at on the way."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dalib.core.console import TrainingProgress, say
from dalib.core.errors import CollapsedError
from dalib.data.prefetch import Prefetched
from dalib.engine.checkpoint import CheckpointFolder
from dalib.engine.distributed import ALONE, World
from dalib.engine.fit import Every, fit, restore
from dalib.engine.keep import KeepBest, kept_step, lines_until, most_confident
from dalib.engine.predict import recompute_statistics
from dalib.engine.runlog import MetricsLog
from dalib.judge.evidence import effective_classes
from dalib.judge.guard import collapse_sign
from dalib.judge.selection import trusted_correlation
from dalib.models.saved import ModelDescription, load_tensors, save_model
from dalib.run import recipe
from dalib.run.domains import to_features
from dalib.run.evaluator import JudgedImages
from dalib.run.feature_space import FeatureSpace, features_folder, one_by_one, standardization
from dalib.run.prior import expect, expected_shares, first_prior, scores_and_prior

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from dalib.core.types import Batch
    from dalib.data.prefetch import Stream
    from dalib.data.preprocessing import Preprocessing
    from dalib.engine.checkpoint import Checkpoint
    from dalib.judge.evidence import Evidence
    from dalib.records.folder import TrainingFolder
    from dalib.run.config import TrainConfig
    from dalib.run.domains import Domains
    from dalib.run.initial_weights import Start
    from dalib.run.recipe import Inputs


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
        world: World,
    ) -> Ways:
        """As the configuration says; features are computed where they are not kept, by the first of the processes."""
        inputs = recipe.image_inputs(config, preprocessing)
        if not config.features:
            return cls(domains, inputs, device)
        network = recipe.make_student(config, inputs.architecture, len(domains.train.classes))
        if start is not None:  # one backbone for both trainings, that of the run's own model
            recipe.load_first(network, start.weights_for(recipe.name_of_training(config)))
        space = FeatureSpace.of(network, preprocessing, features_folder(), device, config.model.averaged_views)
        with world.in_turn():
            of_features = to_features(space, domains, inputs, config)
        return cls(of_features, inputs, device, space)

    def of(self, name: str) -> tuple[Inputs, Callable[[nn.Module], nn.Module] | None]:
        """The inputs of the training of that name, and what makes a network of images of the one that is trained.

        The adapted network is standardised for the target; the source-only one knows the source alone.
        """
        space, architecture = self.space, self.inputs.architecture
        if space is None:
            return self.inputs, None
        if not space.network.standardize:
            return space.inputs(architecture), lambda head: space.whole(head, None)
        of_source = standardization(self.domains.train.images, self.device)
        of_target = of_source
        if name == "adapted":
            of_target = standardization(self.domains.target.images, self.device)
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
        world: the processes that train together.
        stop: asked between two steps whether to save and leave.
        on_line: called with each line of the metrics once it is written.
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
    world: World = ALONE
    stop: Callable[[], bool] = lambda: False
    on_line: Callable[[dict[str, float]], None] = lambda line: None


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
    """Train and save one model. Of several processes the first one judges, chooses and writes, and tells the others.

    Raises:
        UserError: a setting, or weights, that do not fit.
        TrainingDivergedError: a loss that is not finite.
        StoppedError: stopped between two steps, and saved.
    """
    config, folder, domains, inputs, device = plan.config, plan.folder, plan.domains, plan.inputs, plan.device
    world = plan.world
    assert config.steps is not None
    steps = config.steps
    classes = domains.train.classes
    training = recipe.make_training(
        config,
        inputs,
        domains.train_adapted if plan.name == "adapted" else domains.train,
        domains.target,
        device,
        steps=steps,
        first=plan.first,
        prior=first_prior(config.prior, domains.train.labels, classes),
        world=world,
    )
    method, stream = training.method, training.stream
    description = ModelDescription(recipe.architecture_of(config, plan.preprocessing), classes, plan.preprocessing)

    def save(to: Path, model: nn.Module) -> None:
        save_model(to, model if plan.whole is None else plan.whole(model), description)

    judged = JudgedImages.of(domains, inputs, device)
    keep: KeepBest | None = None
    if config.select != "last":
        keep = KeepBest(folder.kept, folder.metrics, _score_of(config), lambda to: save(to, method.predictor()))

    def look(step: int) -> tuple[dict[str, float], Tensor | None]:
        evidence = judged.look(method.predictor(), method.student)
        if on_evidence is not None:
            on_evidence(plan.name, step, evidence)
        return scores_and_prior(method, evidence, config, step)

    def evaluate(step: int) -> dict[str, float]:
        scores, prior = world.from_first(lambda: look(step))
        expect(method, prior)
        return scores

    def keep_or_doubt(step: int) -> str:
        if keep is not None:
            keep(step)
        return _sign_of_collapse(folder, step, plan.before) if plan.name == "adapted" else ""

    def after_evaluation(step: int) -> None:
        if sign := world.from_first(lambda: keep_or_doubt(step)):
            raise CollapsedError(step, sign)

    def stop(step: int) -> bool:
        # several processes leave after the same step; to agree on it costs a message, and is done when they log
        return (world.size == 1 or step % config.every.log == 0) and world.any(plan.stop())

    def on_line(line: dict[str, float]) -> None:
        progress.line(line)
        plan.on_line(line)

    checkpoints = CheckpointFolder(folder.checkpoints)
    checkpoint = world.from_first(lambda: _newest(checkpoints)) if resume else None
    start = 0 if checkpoint is None else checkpoint.step
    if checkpoint is not None:
        restore(method, training.optimizer, checkpoint, training.scaler)
    in_memory = all(isinstance(rows, Tensor) for rows in (domains.train.images, domains.target.images))
    ahead: AbstractContextManager[Stream[Batch]]
    ahead = nullcontext(stream) if in_memory else Prefetched(stream, end=steps)
    ended, stopped = steps, ""
    with ahead as batches, TrainingProgress(plan.name, steps, start=start) as progress:
        try:
            fit(
                method,
                training.optimizer,
                batches,
                steps=steps,
                schedule=training.schedule,
                seed=config.seed,
                log=MetricsLog(
                    folder.metrics if world.first else None,
                    after=start,
                    pending=None if checkpoint is None else checkpoint.log,
                    on_line=on_line,
                ),
                checkpoints=checkpoints if world.first else None,
                evaluate=evaluate,
                after_evaluation=after_evaluation,
                every=Every(config.every.log, config.every.evaluate, config.every.checkpoint),
                start=start,
                autocast=recipe.PRECISIONS[config.precision],
                accumulate=config.accumulate,
                scaler=training.scaler,
                stop=stop,
            )
        except CollapsedError as error:
            ended, stopped = error.step, error.reason
    if stopped:
        say(f"{plan.name} stopped at step {ended}: {stopped}")
    model = method.predictor()

    def finish() -> tuple[Evidence, int]:
        step = ended
        if keep is not None:
            kept = load_tensors(keep.model)
            model.load_state_dict({name: kept[name] for name in model.state_dict()})
            step = kept_step(folder.kept)
        if config.statistics == "recomputed":
            plain = inputs.plain if plan.whole is None else lambda rows: one_by_one(inputs.plain(rows))
            recompute_statistics(model, domains.target.images, plain, device=device)
        save(folder.model, model)
        return judged.look(model), step

    evidence, step = world.from_first(finish)
    world.share(model)
    return Trained(model, evidence, step, ended, stopped, expected_shares(method))


def _newest(checkpoints: CheckpointFolder) -> Checkpoint | None:
    """On the host, wherever it was: other processes, on other devices, are sent it."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = checkpoints.newest(torch.device("cpu"))
    for each in told:
        say(f"warning: {each.message}")
    return found


def _score_of(config: TrainConfig) -> Callable[[Sequence[dict[str, Any]]], float]:
    return trusted_correlation if config.select == "judged" else partial(most_confident, every=config.every.evaluate)


def _sign_of_collapse(folder: TrainingFolder, step: int, before: Evidence | None) -> str:
    """A sentence, empty where there is none."""
    course = [line for line in lines_until(folder.metrics, step) if "target_classes" in line]
    reference = None if before is None else effective_classes(before.histogram)
    return collapse_sign(course, reference)
