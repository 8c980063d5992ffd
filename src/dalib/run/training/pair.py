"""Makes the models of a run, one after the other: source-only, aligned and adapted."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from dalib.adaptation.hints import TrustedHints, hold_back
from dalib.core.console import CountedProgress
from dalib.core.words import UNKNOWN
from dalib.engine.distributed import ALONE, World
from dalib.engine.evaluate import evaluated_rows, plain_representation
from dalib.engine.predict import recompute_statistics
from dalib.engine.train import NOBODY, Observer, Statistics, Trained, train
from dalib.models.network import make_predictor
from dalib.run.classes.fewer import ExpectedClasses, expected_classes, resampled, target_kind
from dalib.run.classes.prior import KINDS, first_prior
from dalib.run.classes.unknown import ExpectedKnown
from dalib.run.features.feature_space import FeatureSpace, one_by_one, standardization
from dalib.run.training import recipe

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor

    from dalib.engine.evaluate import Evaluator
    from dalib.engine.results import Results
    from dalib.judge.evidence import Evidence
    from dalib.judge.kinds import TargetKind
    from dalib.models.classifier import ImageClassifier
    from dalib.run.features.inputs import Inputs
    from dalib.run.settings.config import TrainConfig
    from dalib.run.start.domains import Domains
    from dalib.run.start.kit import Kit
    from dalib.run.training.shared_inputs import TrainingInputs


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
        expected: classes that the target seems to have, or its images that seem known, where they are not all.
        hints: what somebody else thinks of the target's images, for the adaptation.
    """

    name: str
    config: TrainConfig
    domains: Domains
    inputs: Inputs
    results: Results
    student: Callable[[], ImageClassifier] | None = None
    weights: Mapping[str, Tensor] | None = None
    statistics: Statistics | None = None
    expected: ExpectedClasses | ExpectedKnown | None = None
    hints: TrustedHints | None = None


@dataclass(frozen=True)
class FinishedModel:
    """A model of a run, and what it predicts.

    Attributes:
        trained: the model, with its predictions for the evaluated images.
        everything: its predictions for all images; None in other processes than the first.
    """

    trained: Trained
    everything: Evidence | None

    @property
    def evaluated(self) -> Evidence:
        """Its predictions for the evaluated images, by which checkpoints are chosen and models are judged."""
        return self.trained.evidence


@dataclass
class BaselineAndAdapted:
    """The finished models of a run.

    Attributes:
        models: by the names source-only, aligned and adapted, in this order; some of them may be missing.
        expected: classes that the target seems to have, or its images that seem known, where they are not all.
        hints: those that the adapted model learned from, if any.
        kind: what the target seems to be, where that decided how it was adapted to.
    """

    models: dict[str, FinishedModel] = field(default_factory=dict)
    expected: ExpectedClasses | ExpectedKnown | None = None
    hints: TrustedHints | None = None
    kind: TargetKind | None = None

    @property
    def trained(self) -> dict[str, Trained]:
        """The models by name, each with its predictions for the evaluated images."""
        return {name: each.trained for name, each in self.models.items()}

    @property
    def everything(self) -> dict[str, Evidence]:
        """Predictions of the models for all images; none in other processes than the first."""
        return {name: each.everything for name, each in self.models.items() if each.everything is not None}

    def of_classes(self, config: TrainConfig) -> str:
        """Returns which classes the target was taken to have: same, fewer or other."""
        if self.kind is not None:
            return self.kind.believed
        return "same" if config.classes == "auto" else config.classes  # auto that nothing could tell by


def trusted_hints(
    config: TrainConfig, inputs: TrainingInputs, done: BaselineAndAdapted, world: World = ALONE
) -> TrustedHints | None:
    """Returns the hints of an adaptation with the first estimate of their worth; None where there are none.

    It is made of the predictions of the model that the adaptation starts as. Without a baseline hints are not used
    before the first evaluation. Where the adapted model will be compared with a baseline, a tenth of the hints is held
    back from training, to speak for either.

    Args:
        config: settings of the adaptation.
        inputs: with the hints, if there are some.
        done: with the source-only model and, where there can be one, the aligned model, which hints may be copies of.
        world: the processes that train together; the first one has the predictions.
    """
    if (given := inputs.hints) is None:
        return None
    before = [each.target.float() for name, each in done.everything.items() if name != "adapted"]
    before = world.from_first(lambda: before)
    beliefs = before[-1] if before else torch.full_like(given, 1 / given.shape[1])
    held_back, groups = None, inputs.domains.groups
    if before and config.keep != "adapted":
        held_back = hold_back(given, config.seed, None if groups is None else groups.target.numbers)
    return TrustedHints(torch.stack([given, *before], dim=1), beliefs, evaluated_rows(len(given)), held_back)


def statistics_for(config: TrainConfig, inputs: TrainingInputs, plain: Callable[[Tensor], Tensor]) -> Statistics | None:
    """Returns the target's images if the configuration recomputes batch normalisation's statistics, else None."""
    if config.statistics != "recomputed":
        return None
    if inputs.space is None:
        return Statistics(inputs.domains.target.images, plain)
    return Statistics(inputs.domains.target.images, lambda rows: one_by_one(plain(rows)))


def train_task(
    task: Task,
    done: BaselineAndAdapted,
    device: torch.device,
    *,
    resume: bool = False,
    world: World = ALONE,
    observer: Observer = NOBODY,
) -> None:
    """Trains one model, and adds it to those that are done.

    Raises:
        UserError: a setting, or weights, that do not fit.
        TrainingDivergedError: a loss that is not finite.
        StoppedError: stopped between two steps, and saved.
    """
    config, domains = task.config, task.domains
    source = domains.train if task.name == "source-only" else domains.train_adapted
    before = done.models.get("source-only")
    weights = task.weights
    if weights is None and before is not None and config.warm_start:
        weights = before.trained.model.state_dict()
    assert config.steps is not None
    prior = None if task.expected is None else task.expected.shares
    if prior is None:
        prior = first_prior(config.prior, domains.train.labels, domains.train.classes)
    training = recipe.make_training(
        config,
        task.inputs,
        source,
        domains.target,
        device,
        steps=config.steps,
        initial=recipe.Initial(
            weights,
            prior,
            None if task.student is None else task.student(),
            task.hints,
        ),
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
    )
    trained = train(training, plan, task.results, resume=resume, world=world, observer=observer)
    everything = None
    if world.first:
        everything = _everything(task.name, trained, task.inputs, evaluator, shown=observer.progress)
    done.models[task.name] = FinishedModel(trained, everything)
    done.expected, done.hints = task.expected, task.hints


def _everything(name: str, trained: Trained, inputs: Inputs, evaluator: Evaluator, *, shown: bool = True) -> Evidence:
    """Returns what a finished model predicts for all images."""
    predictor = make_predictor(trained.model, inputs.architecture).to(evaluator.device)
    with CountedProgress(f"predictions of {name}", brief=True) as progress:
        return evaluator.all_predictions(trained.evidence, predictor, progress if shown else None)


def take_source_only(done: BaselineAndAdapted, kit: Kit, config: TrainConfig, inputs: TrainingInputs) -> nn.Module:
    """Adds the source-only model of a kit to those that are done, and returns it."""
    own, domains = inputs.of("source-only")[0], inputs.domains
    model = recipe.make_student(config, own.architecture, len(domains.train.classes)).to(inputs.device)
    recipe.load_first(model, FeatureSpace.without_backbone(kit.weights) if config.features else kit.weights)
    evaluator = recipe.make_evaluator(domains, own, inputs.device)
    trained = Trained(model, evaluator.evidence(model), step=0, ended=0, stopped="", prior=None)
    done.models["source-only"] = FinishedModel(trained, _everything("source-only", trained, own, evaluator))
    with_validation_of(kit, done, "source-only")
    return model


def with_validation_of(kit: Kit, done: BaselineAndAdapted, name: str) -> None:
    """Gives a model the source-only model's predictions for the validation images, which are not here.

    Its own are of drawn features, which are easier than those of images and would make it look better than it is.
    """
    model = done.models[name]
    known = {"validation": kit.validation, "labels": kit.labels}
    evaluated = replace(model.evaluated, **known, validation_features=None)
    everything = None if model.everything is None else replace(model.everything, **known)
    done.models[name] = FinishedModel(replace(model.trained, evidence=evaluated), everything)


def fitted_to_fewer(
    config: TrainConfig, inputs: TrainingInputs, done: BaselineAndAdapted, world: World = ALONE
) -> TrainingInputs:
    """Returns the inputs of an adaptation to a target that has some of the source's classes.

    Args:
        config: its prior may be a file of shares, which replaces the estimate.
        inputs: those of the source-only model.
        done: with the source-only model and, where there can be one, the aligned model.
        world: the processes that train together; the first one estimates, because it alone has the aligned model.

    Raises:
        UserError: a file of shares that cannot be read or does not fit the classes.
    """
    train, domains, before = inputs.domains.train, inputs.domains, _before(inputs, done)
    given = None if config.prior in KINDS else Path(config.prior)
    expected = world.from_first(lambda: expected_classes(before, train.labels, train.classes, given))
    drawn = resampled(domains.train_adapted, expected.shares, config.seed)
    standardized = inputs.standardized
    if standardized is not None and domains.joined is None:  # labelled images of the target are scaled for the source's
        standardized = replace(standardized, source=standardization(drawn.images, inputs.device))
    return replace(inputs, domains=replace(domains, joined=drawn), standardized=standardized, expected=expected)


def can_be_told(config: TrainConfig, kit: Kit | None) -> bool:
    """Returns whether ``--classes auto`` can decide: by a source-only model, and where no other shares are wanted."""
    alone = kit is not None and kit.of_target is not None
    return config.baseline and config.prior != "source" and not alone


def decide_kind(
    config: TrainConfig, inputs: TrainingInputs, done: BaselineAndAdapted, world: World = ALONE
) -> TargetKind:
    """Decides what the target seems to be, and adds it to what is done; nothing depends on chance or on time.

    Images of other classes are not looked for beside hints, which would be left behind, and where a class of the source
    has their name.

    Args:
        config: settings of the adaptation.
        inputs: those of the source-only model.
        done: with the source-only model and, where there can be one, the aligned model.
        world: the processes that train together; the first one decides, because it alone has the aligned model.
    """
    train, before = inputs.domains.train, _before(inputs, done)
    others = config.hints is None and UNKNOWN not in map(str.lower, train.classes)
    done.kind = world.from_first(lambda: target_kind(before, train.labels, len(train.classes), others=others))
    return done.kind


def _before(inputs: TrainingInputs, done: BaselineAndAdapted) -> dict[str, Evidence]:
    """Returns the predictions of the models from before the adaptation for the evaluated images."""
    return {name: inputs.domains.grouped(each.evaluated) for name, each in done.models.items() if name != "adapted"}


def fitted_to_known(inputs: TrainingInputs, done: BaselineAndAdapted, world: World = ALONE) -> TrainingInputs:
    """Returns the inputs of an adaptation to a target with images of none of the classes, which are set apart.

    Args:
        inputs: those of the source-only model.
        done: with the source-only model and, where there can be one, the aligned model.
        world: the processes that train together; the first one decides, because it alone has all predictions.

    Raises:
        UserError: too few target images.
    """

    def expected_known() -> ExpectedKnown:
        before = {name: evidence for name, evidence in done.everything.items() if name != "adapted"}
        target, every = inputs.domains.to_predict, torch.arange(len(inputs.domains.to_predict))
        features = None if inputs.space is None else plain_representation(inputs.domains.train, target, every)
        return ExpectedKnown.of(before, features)

    expected = world.from_first(expected_known)
    domains = replace(inputs.domains, target=expected.apart(inputs.domains.target))
    return replace(inputs, domains=domains, expected=expected)


def align(done: BaselineAndAdapted, inputs: TrainingInputs) -> Trained | None:
    """Adds the aligned model to those that are done: the source-only one with the target's normalisation statistics.

    Nothing is trained. Of features of a frozen backbone it is their standardisation that is the target's, of other
    networks the running statistics of batch normalisation. On the source it is the source-only model.

    Args:
        done: with the source-only model.
        inputs: the target's rows.

    Returns:
        The aligned model; None where the network has no statistics that could be the target's, or where several
        processes take them together (``sync_norms``).

    Source: AdaBN (Li et al. 2017).
    """
    before, own = done.models["source-only"], inputs.of("aligned")[0]
    model = copy.deepcopy(before.trained.model)
    if inputs.space is not None:
        can_be_aligned = inputs.standardized is not None
    else:
        rows = inputs.domains.target.images
        # layers that take their statistics over all processes would wait for the others, which align nothing
        alone = not any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())
        can_be_aligned = alone and len(rows) > 1 and recompute_statistics(model, rows, own.plain, device=inputs.device)
    if not can_be_aligned:
        return None
    on_target = replace(inputs.domains, validation=inputs.domains.validation.none())
    evaluator = recipe.make_evaluator(on_target, own, inputs.device)
    found, on_source = evaluator.evidence(model), before.evaluated
    everything = _everything("aligned", replace(before.trained, model=model, evidence=found), own, evaluator)
    known = {"validation": on_source.validation, "labels": on_source.labels}
    evaluated = replace(found, **known, validation_features=on_source.validation_features)
    aligned = replace(before.trained, model=model, evidence=evaluated)
    assert before.everything is not None
    everywhere = {"validation": before.everything.validation, "labels": before.everything.labels}
    done.models["aligned"] = FinishedModel(aligned, replace(everything, **everywhere))
    return aligned
