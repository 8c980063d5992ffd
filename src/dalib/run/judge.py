"""Judging a run: its models are compared without target labels, and their predictions and pictures are written."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, cast

from safetensors.torch import save

from dalib.core.errors import Setting
from dalib.core.files import write_bytes
from dalib.engine.evaluate import evaluated_rows
from dalib.judge.accuracy import calibration_error, reliability_bins
from dalib.judge.annotator import fit_annotator
from dalib.judge.calibrated import agreements_of, calibrated_estimate, calibration_for
from dalib.judge.chance import FEWEST_LABELLED, has_lost, learnt_nothing, without_chance
from dalib.judge.comparison import MIN_IMAGES, Baseline, compare, shared_representation
from dalib.judge.estimate import fit_temperature, proxy_a_distance
from dalib.judge.evidence import Evidence, Scored
from dalib.judge.few_classes import FewClasses, few_classes, with_few_classes
from dalib.judge.hint_votes import hint_votes
from dalib.judge.recalls import RECALL_CALIBRATIONS, class_agreements, recall_estimates
from dalib.judge.signs import head_classes
from dalib.judge.structure import structure_of
from dalib.records.estimate import Calibration, Estimate
from dalib.records.images import ImageGroups, ImageNames
from dalib.records.judgement import JudgedModel, Judgement, KeptStep, MaskThreshold, Prior
from dalib.report.sheets import MappedImages, write_embedding, write_samples
from dalib.run.cautions import CountedImages, cautions
from dalib.run.classes.prior import estimated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from dalib.adaptation.hints import TrustedHints
    from dalib.engine.train import Trained
    from dalib.judge.comparison import Comparison
    from dalib.judge.estimate import AccuracyEstimate
    from dalib.judge.hint_votes import HintVotes
    from dalib.judge.structure import Representation, Structure
    from dalib.records.folder import RunFolder
    from dalib.records.selection import ModelName
    from dalib.run.classes.expected_target import ExpectedTarget
    from dalib.run.recipe.recipe import JudgeSettings
    from dalib.run.start.domains import Domains


def judge(
    trained: Mapping[str, Trained],
    everything: Mapping[str, Evidence],
    settings: JudgeSettings,
    classes: Sequence[str],
    representation: Representation | None = None,
    learnt_from: Representation | None = None,
    hints: TrustedHints | None = None,
) -> Judgement:
    """Returns the comparison of the models without target labels.

    Args:
        trained: the models by their names.
        everything: each model's predictions for every image.
        classes: C names.
        representation: features that no model has trained, for the comparison. Those of the models, without.
        learnt_from: likewise, those that all models learnt from, for classifiers that estimates compare them with.
        hints: those that the adapted model learned from; the ones that were held back from it speak for one model.
    """
    whole = trained
    if (expected := settings.expected) is not None:
        trained, everything = _among(expected, trained, everything)
        representation, learnt_from = _features_among(expected, representation, learnt_from)
    own = "adapted" if "adapted" in trained else "source-only"
    counted = CountedImages.of(trained[own].evidence, whole[own].evidence, of_kit=settings.of_kit)
    return _judgement_of_expected(trained, everything, settings, classes, representation, learnt_from, hints, counted)


def _among(
    expected: ExpectedTarget, trained: Mapping[str, Trained], everything: Mapping[str, Evidence]
) -> tuple[dict[str, Trained], dict[str, Evidence]]:
    """Returns the models and their predictions, of the expected classes or of the images that seem known."""
    return (
        {name: replace(each, evidence=expected.among(each.evidence)) for name, each in trained.items()},
        {name: expected.among(each) for name, each in everything.items()},
    )


def _features_among(
    expected: ExpectedTarget, representation: Representation | None, learnt_from: Representation | None
) -> tuple[Representation | None, Representation | None]:
    """Returns the representations of the same images as :func:`_among`; what was one object is one again."""
    seen = None if representation is None else expected.seen_in(representation)
    if learnt_from is representation:
        return seen, seen
    return seen, None if learnt_from is None else expected.seen_in(learnt_from)


def _judgement_of_expected(
    trained: Mapping[str, Trained],
    everything: Mapping[str, Evidence],
    settings: JudgeSettings,
    classes: Sequence[str],
    representation: Representation | None,
    learnt_from: Representation | None,
    hints: TrustedHints | None,
    counted: CountedImages,
) -> Judgement:
    """Returns the judgement by the evidence of the classes, or of the images, that are expected."""
    name: ModelName = "adapted" if "adapted" in trained else "source-only"
    expected = settings.expected
    own = trained[name]  # all are scored against its shares, those that the checkpoints were chosen by
    scored = {
        each: Scored.of(one.evidence, settings.confidence.threshold_for(one.evidence), prior=own.prior)
        for each, one in trained.items()
    }
    structure, learnt = _structures(trained, representation, learnt_from, len(classes))
    at_chance = [model for model, each in trained.items() if learnt_nothing(each.evidence)]
    few = _few_classes(trained, at_chance, name)
    spread = few is not None or _few_classes(trained, at_chance, "aligned") is not None
    estimates = {} if spread else _estimates(trained, learnt, structure if representation else None)
    baseline = _baseline(scored, name, at_chance, structure, spread)
    verdict = compare(
        baseline,
        scored[name],
        name=name,
        classes=classes,
        stopped=own.stopped,
        structure=structure,
        most_classes=math.inf if expected is None else expected.most_classes,
        hints=None if hints is None or baseline is None else _hint_votes(hints, everything, baseline.name),
    )
    verdict = _without_chance(verdict, at_chance, trained, [name] if baseline is None else [baseline.name, name])
    verdict = with_few_classes(verdict, few, classes)
    shipped = cast("ModelName", name if settings.keep == "adapted" else verdict.better)
    compared_with = None if baseline is None else cast("ModelName", baseline.name)
    undecided = shipped if verdict.outcome == "unclear" else ""
    return Judgement(
        shipped,
        verdict.outcome,
        verdict.headline,
        reasons=(
            *_reasons(verdict, shipped, len(trained)),
            *_about(expected, classes),
            *cautions(counted, baseline=compared_with, undecided=undecided, spread=spread),
        ),
        models={model: _of_model(model, each, everything[model], verdict, estimates) for model, each in scored.items()},
        probability=verdict.probability,
        at_chance=tuple(at_chance),
        distance=_distance(trained[shipped].evidence),
        votes=_votes(verdict, baseline),
        baseline=compared_with,
        target=few.in_words(classes) if few else next(iter(_about(expected, classes)), None),
        few_classes=True if few else None,
        selection=_kept_step(own, settings) if name == "adapted" else None,
        prior=_prior(own, everything["adapted"], settings) if name == "adapted" else None,
        mask_threshold=MaskThreshold(settings.confidence.threshold, settings.confidence.of_source),
    )


def _structures(
    trained: Mapping[str, Trained],
    representation: Representation | None,
    learnt_from: Representation | None,
    num_classes: int,
) -> tuple[Structure | None, Structure | None]:
    """Describes the target's structure in features that no model has trained, and in those that all learnt from.

    Both are one object where the two representations of :func:`judge` are one.
    """
    # the aligned model's features are source-only's in another scale: twice the same would outweigh the adapted ones
    own_features = [each.evidence for model, each in trained.items() if model != "aligned"]
    found = _structure(representation, own_features, num_classes)
    return found, found if learnt_from is representation else _structure(learnt_from, own_features, num_classes)


def _structure(representation: Representation | None, models: Sequence[Evidence], num_classes: int) -> Structure | None:
    """Describes the target's structure in the features that were given, or in those of all models together."""
    known = representation or shared_representation(models)
    return None if known is None or len(known.target) < 2 else structure_of(known, num_classes, models[0].target_groups)


def _few_classes(trained: Mapping[str, Trained], at_chance: Sequence[str], name: str) -> FewClasses | None:
    """Compares the classes that a model names, adapted or aligned, with those of source-only."""
    if not {"source-only", "aligned", name} <= trained.keys() or "source-only" in at_chance or name == "source-only":
        return None
    return few_classes(*(trained[each].evidence for each in ("source-only", "aligned", name)))


@dataclass(frozen=True)
class _Estimated:
    """The estimates of one model.

    Attributes:
        accuracy: on the target.
        classes: recall of each of the C classes.
    """

    accuracy: Estimate
    classes: tuple[Estimate, ...]


def _estimates(
    trained: Mapping[str, Trained], learnt: Structure | None, untrained: Structure | None
) -> dict[str, _Estimated]:
    """Returns the estimates of each model; none where the source is too small.

    Args:
        learnt: what features that all models learnt from show of the target.
        untrained: likewise, features that no model has trained; None where the models' own stand in for them.
    """
    if learnt is None or not len(heads := head_classes(learnt)):
        return {}
    aligned = trained["aligned"].evidence.target if "aligned" in trained else None
    found = {}
    for name, model in ((name, each.evidence) for name, each in trained.items()):
        if len(model.labels) < FEWEST_LABELLED or len(model.target) < MIN_IMAGES:
            continue
        predictions = (model.validation, model.labels, model.target, heads)
        agreements = agreements_of(*predictions, untrained, None if name == "aligned" else aligned)
        accuracy = calibrated_estimate(agreements, calibration_for(name, agreements))
        classes = recall_estimates(class_agreements(*predictions), accuracy.value, RECALL_CALIBRATIONS[name])
        found[name] = _Estimated(_recorded(accuracy), tuple(map(_recorded, classes)))
    return found


def _recorded(estimate: AccuracyEstimate) -> Estimate:
    return Estimate(**{**asdict(estimate), "value": None if math.isnan(estimate.value) else estimate.value})


def _baseline(
    scored: Mapping[str, Scored], name: str, at_chance: Sequence[str], structure: Structure | None, spread: bool
) -> Baseline | None:
    """Returns the best of the models without adaptation; one at chance on the source only where all of them are.

    Args:
        spread: aligned to the target, a model spreads the images of few classes over others.
    """
    others = {model: each for model, each in scored.items() if model != name and not (spread and model == "aligned")}
    learnt = {model: each for model, each in others.items() if model not in at_chance}
    return Baseline.best_of(learnt or others, structure) if others else None


def _hint_votes(hints: TrustedHints, everything: Mapping[str, Evidence], baseline: str) -> HintVotes | None:
    """Returns the votes of the hints that were held back from training; None where none was.

    What hints are worth is estimated anew from the others, with both models for the teacher: by the adapted model alone
    hints would seem to copy a better baseline.
    """
    if hints.held_back is None:
        return None
    first, second = (everything[name].target.double() for name in ("adapted", baseline))
    rows, others = hints.held_back.nonzero()[:, 0], hints.hints[hints.rows]
    beliefs, sharpness = (first + second)[hints.rows] / 2, hints.annotator.sharpness
    annotator = fit_annotator(beliefs, others[:, 0], others[:, 1:], sharpness=sharpness)
    given, originals, groups = hints.given[rows], hints.originals[rows], everything["adapted"].target_groups
    groups = None if groups is None else groups[rows]
    return hint_votes(first[rows], second[rows], given.double(), originals.double(), annotator, groups)


def _without_chance(
    verdict: Comparison, at_chance: Sequence[str], trained: Mapping[str, Trained], compared: Sequence[str]
) -> Comparison:
    if not at_chance:
        return verdict
    evidence = {model: trained[model].evidence for model in compared}
    accuracies = {model: each.validation_accuracy for model, each in evidence.items()}
    lost = len(compared) < 2 or has_lost(*evidence.values())  # the baseline, then the adapted model
    return without_chance(verdict, [model for model in at_chance if model in compared], accuracies, lost=lost)


def _reasons(verdict: Comparison, shipped: str, models: int) -> tuple[str, ...]:
    if shipped == verdict.better or models < 2:
        return tuple(verdict.reasons)
    return (*verdict.reasons, f"The adapted model is selected all the same, as {Setting('keep', 'adapted')} asks")


def _about(expected: ExpectedTarget | None, classes: Sequence[str]) -> tuple[str, ...]:
    return () if expected is None else (expected.in_words(classes),)


def _of_model(
    name: str, scored: Scored, predictions: Evidence, verdict: Comparison, estimates: Mapping[str, _Estimated]
) -> JudgedModel:
    """Returns the record of one model; with an estimate also its calibration, of all of its predictions."""
    signs, found = verdict.signs.get(name), estimates.get(name)
    finite = {score: value for score, value in scored.scores.items() if math.isfinite(value)}
    model = JudgedModel(finite, None if signs is None else asdict(signs))
    if found is None:
        return model
    bins = reliability_bins(predictions.validation, predictions.labels)
    return replace(
        model,
        estimate=found.accuracy,
        classes=found.classes,
        calibration=Calibration(
            calibration_error(bins), bins, fit_temperature(predictions.validation, predictions.labels)
        ),
    )


def _distance(evidence: Evidence) -> float | None:
    of_source, of_target = evidence.validation_features, evidence.target_features
    if of_source is None or of_target is None or min(len(of_source), len(of_target)) < FEWEST_LABELLED:
        return None
    return proxy_a_distance(of_source, of_target)


def _votes(verdict: Comparison, baseline: Baseline | None) -> dict[str, int] | None:
    if (votes := verdict.votes) is None or baseline is None:
        return None
    return {"adapted": votes.first, baseline.name: votes.second, "differ": votes.differ, "count": votes.count}


_SELECTED = {
    "last": "the last step",
    "most-confident": "the evaluation with the largest share of confident target images",
    "judged": "the evaluation with the highest class correlation (Corr-C) of its predictions for the target",
}


def _kept_step(adapted: Trained, settings: JudgeSettings) -> KeptStep:
    return KeptStep(adapted.step, settings.steps, settings.select, adapted.stopped or _SELECTED[settings.select])


def _prior(adapted: Trained, predictions: Evidence, settings: JudgeSettings) -> Prior:
    shares = adapted.prior
    return Prior(
        settings.prior,
        None if shares is None else tuple(float(share) for share in shares),
        tuple(estimated(predictions).tolist()) if len(adapted.evidence.labels) else None,
    )


def write_predictions(run: RunFolder, everything: Mapping[str, Evidence], domains: Domains) -> None:
    """Writes predictions.safetensors and images.json (:mod:`dalib.records.folder`)."""
    tensors = {"validation/labels": domains.validation.labels.contiguous()}
    for name, evidence in everything.items():  # on the source, aligned shares the tensor of source-only
        tensors |= {f"target/{name}": evidence.target, f"validation/{name}": evidence.validation.clone()}
    write_bytes(run.predictions, save(tensors))  # save_file lets nobody else read the file
    ImageNames(tuple(domains.target.names), tuple(domains.validation.names)).write(run.images)
    if (groups := domains.groups) is not None:
        of_target, of_validation = (tuple(each.tolist()) for each in (groups.target.numbers, groups.validation))
        ImageGroups(groups.definition, groups.target.how, groups.source.count, of_target, of_validation).write(
            run.groups
        )
    else:
        run.groups.unlink(missing_ok=True)


def write_pictures(
    run: RunFolder,
    trained: Mapping[str, Trained],
    everything: Mapping[str, Evidence],
    domains: Domains,
    seed: int,
    baseline: str | None = None,
) -> None:
    """Writes sample images with the models' predictions, and the map of the models' features.

    Args:
        baseline: the model that the adapted one was compared with: samples show these two. The map has the models that
            were trained.
    """
    shown = everything if baseline is None else {name: everything[name] for name in (baseline, "adapted")}
    probabilities = {name: evidence.target for name, evidence in shown.items()}
    write_samples(run.samples, domains.target, probabilities, domains.train.classes, seed)
    features: dict[str, tuple[Tensor, Tensor, Tensor, Tensor]] = {}
    for name, each in trained.items():
        if name == "aligned":
            continue
        of_source, of_target = each.evidence.validation_features, each.evidence.target_features
        if of_source is not None and of_target is not None:
            features[name] = (of_source, each.evidence.labels, of_target, each.evidence.target.argmax(dim=1))
    if features:
        target = domains.target.images
        images = MappedImages(
            domains.validation.images,
            evaluated_rows(len(domains.validation.labels)),
            target,
            evaluated_rows(len(target)),
        )
        write_embedding(run.embedding, features, seed, images)
