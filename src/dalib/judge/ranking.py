"""Judges any number of models of one target by their predictions, wherever they were trained.

It is the judgement of a run (:mod:`dalib.judge.comparison`, :mod:`dalib.judge.better`, :mod:`dalib.judge.calibrated`)
for models that have names of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from dalib.core.words import likelihood, share_in_words, undecided
from dalib.judge.better import pairwise
from dalib.judge.calibrated import agreements_of, calibrated_estimate, calibration_for
from dalib.judge.chance import FEWEST_LABELLED
from dalib.judge.comparison import MIN_CERTAINTY, MIN_IMAGES, Baseline, compare, first_of, lost_classes
from dalib.judge.evidence import Evidence, Scored, effective_classes
from dalib.judge.failed_models import failures_of, reference_collapsed
from dalib.judge.models_judgement import ModelsJudgement, RankedModel
from dalib.judge.scores import corr_c
from dalib.judge.signs import head_classes
from dalib.judge.witness import renamed_pairs, witness_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from dalib.judge.comparison import Comparison
    from dalib.judge.estimate import AccuracyEstimate
    from dalib.judge.failed_models import Failure
    from dalib.judge.models_judgement import ModelsOutcome
    from dalib.judge.structure import Structure
    from dalib.judge.witness import Renamed, Witness

MOST_DIFFERING = 20
"""Images on which the best two models differ that are listed."""

NO_FEATURES = "no features of the images were given, and predictions alone do not tell which model is better"


def judge_predictions(
    models: Mapping[str, Evidence],
    classes: Sequence[str],
    structure: Structure | None = None,
    reference: str | None = None,
    names: Sequence[str] = (),
) -> ModelsJudgement:
    """Judges models of the same target images by their predictions.

    Args:
        models: predictions of at least two models, by their names; validation predictions may be empty.
        classes: C names.
        structure: what features show of the same images, of a network that none of the models trained; None ranks the
            models by :func:`dalib.judge.scores.corr_c` and gives no probability.
        reference: name of the model without adaptation, which the best of the others is compared with. Where the
            structure has no source images, it also decides whether groups of images have the names of their classes
            (:func:`dalib.judge.witness.witness_of`).
        names: of the images, to list some on which the best two models differ.

    A model that predicts few classes in effect, against the reference or else the upper median of all, or is at chance
    on the source's validation images, stands behind all others.

    Misleads: as :func:`dalib.judge.comparison.compare`. The weights were fitted on models of one run, which share a
    network and a source; models of other origin differ in more.
    Source: ours; docs/judging.md states how often the judgement of a run was right.
    """
    targets = {name: each.target for name, each in models.items()}
    count = len(next(iter(targets.values())))
    collapsed = reference is not None and reference_collapsed(models, reference)
    heads = None if structure is None else head_classes(structure)
    witness = witness_of(targets, heads, reference, reference_collapsed=collapsed)
    renamed = renamed_pairs(targets) if count >= MIN_IMAGES else []
    failed = failures_of(models, reference, collapsed=collapsed)
    chances = None
    if structure is not None and count >= MIN_IMAGES:
        chances = _chances(targets, witness, structure, renamed)
    worth = [corr_c(each) for each in targets.values()] if chances is None else chances.sum(dim=1).tolist()
    places = {name: place for place, name in enumerate(models)}
    order = sorted(models, key=lambda name: (failed[name] is not None, -worth[places[name]], places[name]))
    pairs = () if chances is None else _in_order(chances, [places[name] for name in order])
    found = _Ranking(models, tuple(order), pairs, failed, classes, structure, reference, witness.target)
    ranked = found.models_in_order(heads)
    outcome, headline, reasons = found.verdict()
    return ModelsJudgement(
        best=order[0],
        outcome=outcome,
        headline=headline,
        reasons=(
            *map(_same, _equal(models)),
            *(_other_names(each, classes, witness) for each in renamed),
            *reasons,
            *(f"{name}: {each.why}" for name, each in failed.items() if each is not None),
        ),
        missing=_missing(structure, witness, ranked, count),
        models=ranked,
        pairs=pairs,
        reference=reference,
        images=count,
        differing=_differing(targets[order[0]], targets[order[1]], classes, names),
    )


def _other_names(found: Renamed, classes: Sequence[str], witness: Witness) -> str:
    """Returns a sentence that two models name the same groups differently, and which images to check."""
    moved = [f"{classes[own]} for {classes[of]}" for own, of in enumerate(found.names) if own != of]
    remedy = "" if witness.independent else "; labelled source images, or a reference, would tell whose names are right"
    one, other = found.first, found.second
    return (
        f"{one} and {other} group the images alike and name the groups differently: they predict the same class for "
        f"{share_in_words(found.agreement, 0)} of the images, and for {share_in_words(found.matched, 0)} once "
        f"{other}'s classes are renamed ({first_of(moved)}); look whether its columns are in another order than "
        f"its classes{remedy}"
    )


def _chances(
    targets: Mapping[str, Tensor], witness: Witness, structure: Structure, renamed: Sequence[Renamed]
) -> Tensor:
    """Returns the probabilities of all pairs (:func:`dalib.judge.better.pairwise`).

    They are one half for two models that only give each other's names to their groups, with nobody else to ask.
    """
    if len(targets) == 2 and renamed and not witness.independent:
        return 0.5 * (1 - torch.eye(2, dtype=torch.float64))
    return pairwise(list(targets.values()), witness.target, structure)


def _equal(models: Mapping[str, Evidence]) -> list[list[str]]:
    """Returns the names of models that give the same probabilities, together."""
    found: list[list[str]] = []
    for name, each in models.items():
        for group in found:
            if torch.allclose(models[group[0]].target, each.target, rtol=0, atol=1e-6):
                group.append(name)
                break
        else:
            found.append([name])
    return [group for group in found if len(group) > 1]


def _same(names: Sequence[str]) -> str:
    """Returns a sentence that models of these names give the same probabilities."""
    listed = f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{listed} give the same probabilities for every image, as one table given twice would"


def _in_order(chances: Tensor, rows: Sequence[int]) -> tuple[tuple[float | None, ...], ...]:
    """Returns the probabilities of the pairs in another order of models, with None on the diagonal."""
    return tuple(tuple(None if row == column else float(chances[row, column]) for column in rows) for row in rows)


def _estimate(
    evidence: Evidence, structure: Structure | None, heads: Tensor | None, *, reference: bool
) -> tuple[AccuracyEstimate | None, str]:
    """Returns the estimated accuracy of a model; without one, the reason."""
    if not len(evidence.labels):
        return None, "that takes the model's probabilities for labelled source images"
    if len(evidence.labels) < FEWEST_LABELLED:
        return None, f"that takes {FEWEST_LABELLED} labelled source images, and there are {len(evidence.labels)}"
    if structure is None or heads is None or not len(heads):
        return None, "that takes features of the target and of labelled source images"
    agreements = agreements_of(evidence.validation, evidence.labels, evidence.target, heads, structure)
    return calibrated_estimate(agreements, calibration_for("source-only" if reference else "adapted", agreements)), ""


@dataclass(frozen=True)
class _Ranking:
    """Models from the best to the worst, and what they are compared by.

    Attributes:
        models: their predictions by name.
        order: names from the best to the worst.
        pairs: as :attr:`ModelsJudgement.pairs` has them.
        failed: why a model cannot be the best.
        classes, structure, reference: as for :func:`judge_predictions`.
        witness: (M, C) probabilities of the witness of the classes' names.
    """

    models: Mapping[str, Evidence]
    order: tuple[str, ...]
    pairs: tuple[tuple[float | None, ...], ...]
    failed: Mapping[str, Failure | None]
    classes: Sequence[str]
    structure: Structure | None
    reference: str | None
    witness: Tensor

    def models_in_order(self, heads: Tensor | None) -> tuple[RankedModel, ...]:
        """Returns the judgement of each model, from the best to the worst.

        Args:
            heads: (H, M) int64, :func:`dalib.judge.signs.head_classes` of the structure; None without one.
        """
        ranked = []
        for place, name in enumerate(self.order):
            evidence, failure = self.models[name], self.failed[name]
            mean = fmean(each for each in self.pairs[place] if each is not None) if self.pairs else None
            validation = evidence.validation_accuracy if len(evidence.labels) else None
            estimate, why = _estimate(evidence, self.structure, heads, reference=name == self.reference)
            in_use = effective_classes(evidence.histogram)
            failed = "" if failure is None else failure.why
            ranked.append(RankedModel(name, mean, in_use, validation, estimate, why, failed))
        return tuple(ranked)

    def verdict(self) -> tuple[ModelsOutcome, str, tuple[str, ...]]:
        """Returns outcome, headline and reasons."""
        if all(each is not None and each.at_chance for each in self.failed.values()):
            return "unclear", "Nothing was learnt: no model is better than chance on the source's validation images", ()
        if all(each is not None for each in self.failed.values()):
            return "unclear", "No model passed the checks: each of them collapsed or is not better than chance", ()
        if any(len(group) == len(self.models) for group in _equal(self.models)):
            return "unclear", "Nothing to compare: all models predict the same", ()
        if self.reference is not None:
            return self._against(self.reference)
        first, second = self.order[:2]
        if self.failed[second] is not None:
            others = "the other one failed" if len(self.order) == 2 else "none of the others passed the checks"
            return "best", f"{first} is the best model: {others}", ()
        if not self.pairs:
            return "unclear", f"Can't tell which model is best: {_why_nothing(self.models[first])}", ()
        chances = dict(zip(self.order[1:], self.pairs[0][1:], strict=True))
        least, next_best = min(
            (chance, name) for name, chance in chances.items() if chance is not None and self.failed[name] is None
        )
        if least >= MIN_CERTAINTY:
            headline = (
                f"{first} seems to be the best of {len(self.order)} models, with a probability of {likelihood(least)} "
                f"against the next, {next_best}"
            )
            return "best", headline, ()
        told = undecided(least, MIN_CERTAINTY)
        headline = f"Can't tell which model is best: {first} is better than {next_best} with a probability of {told}"
        return "unclear", headline, ()

    def _against(self, reference: str) -> tuple[ModelsOutcome, str, tuple[str, ...]]:
        """Compares the best of the other models with the reference, as a run compares its adapted model."""
        best = next(name for name in self.order if name != reference)
        before, after = (
            Scored(self.models[name], {"target_classes": effective_classes(self.models[name].histogram)})
            for name in (reference, best)
        )
        found = compare(
            Baseline(reference, before, self.witness), after, classes=self.classes, structure=self.structure
        )
        outcome, headline = self._outcome(found, best, reference)
        return outcome, headline, _reasons(found, self.models, best, reference, self.classes)

    def _outcome(self, found: Comparison, best: str, reference: str) -> tuple[ModelsOutcome, str]:
        """Returns outcome and headline of the comparison of the best of the other models with the reference."""
        if found.outcome == "collapsed":
            return "collapsed", f"{best} collapsed; {reference} is the better model"
        if (failure := self.failed[best]) is not None:
            return "hurt", f"{best} is {failure.why}; {reference} is the better model"
        if (failure := self.failed[reference]) is not None and failure.at_chance:
            return "unclear", f"{reference} learnt nothing, so there is nothing to compare {best} with"
        if self.structure is None or len(self.models[best].target) < MIN_IMAGES:
            why = _why_nothing(self.models[best])
            return "unclear", f"Can't tell whether {best} is better than {reference}: {why}"
        chance = 0.5 if found.probability is None else found.probability
        if found.outcome == "helped":
            return "helped", f"{best} seems to be better than {reference}, with a probability of {likelihood(chance)}"
        if found.outcome == "hurt":
            return "hurt", f"{best} seems to be worse than {reference}, with a probability of {likelihood(1 - chance)}"
        told = undecided(chance, MIN_CERTAINTY)
        return "unclear", f"Can't tell whether {best} is better than {reference}: the probability is {told}"


def _reasons(
    compared: Comparison, models: Mapping[str, Evidence], best: str, reference: str, classes: Sequence[str]
) -> tuple[str, ...]:
    """Returns the reasons for the finding about the best of the other models and the reference, a sentence each."""
    before, after = models[reference], models[best]
    if len(after.target) < MIN_IMAGES:
        return ()
    found = []
    if compared.signs:
        one, other = compared.signs["adapted"], compared.signs[reference]
        found.append(
            "Images that look alike should get the same class: agreement with the nearest neighbours beyond chance "
            f"is {one.neighbours:.2f} for {best}, {other.neighbours:.2f} for {reference} (1 is best)"
        )
    differ = int((before.target.argmax(dim=1) != after.target.argmax(dim=1)).sum())
    found.append(f"{best} and {reference} predict different classes for {differ} of {len(after.target)} target images")
    if lost := lost_classes(before, after):
        listed = first_of([classes[each] for each in lost])
        found.append(f"{best} hardly predicts {listed}, which {reference} does; look at images of these")
    return tuple(found)


def _why_nothing(evidence: Evidence) -> str:
    """Returns why no probability is known of models with these predictions."""
    few = len(evidence.target) < MIN_IMAGES
    return f"{len(evidence.target)} images are too few, {MIN_IMAGES} are needed" if few else NO_FEATURES


def _missing(
    structure: Structure | None, witness: Witness, ranked: Sequence[RankedModel], images: int
) -> tuple[str, ...]:
    """Returns a sentence on each thing that the judgement lacked."""
    found = []
    if images < MIN_IMAGES:
        found.append(f"{images} target images are too few to judge; at least {MIN_IMAGES} are needed.")
    if structure is None or images < MIN_IMAGES:
        found.append("The order is that of Corr-C, a weak score of confidence and diversity; it gives no probability.")
    if witness.why:
        found.append(witness.why)
    for why in dict.fromkeys(each.no_estimate for each in ranked if each.estimate is None):
        without = [each.name for each in ranked if each.estimate is None and each.no_estimate == why]
        found.append(f"No accuracy is estimated for {', '.join(without)}: {why}.")
    return tuple(found)


def _differing(
    first: Tensor, second: Tensor, classes: Sequence[str], names: Sequence[str]
) -> tuple[tuple[str, str, str], ...]:
    """Returns the images on which two models differ and are both sure, the surest first."""
    if not names:
        return ()
    (sure, one), (other_sure, other) = first.max(dim=1), second.max(dim=1)
    rows = (one != other).nonzero()[:, 0]
    surest = rows[torch.minimum(sure, other_sure)[rows].argsort(descending=True, stable=True)][:MOST_DIFFERING]
    return tuple((names[row], classes[int(one[row])], classes[int(other[row])]) for row in surest.tolist())
