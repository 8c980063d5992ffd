"""The first lines of the report: whether adaptation helped, measured where there are labels, else estimated."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from dalib.core.errors import Call, Setting
from dalib.core.words import cannot_tell, counted, likelihood
from dalib.judge.paired import mcnemar, paired_difference_interval
from dalib.records.candidates import ADAPTED, BASELINE, in_order
from dalib.records.estimate import Estimate
from dalib.records.summary import RecordedKind, Stopped
from dalib.report.figures import (
    interval,
    percent,
    points_between,
    sentence,
    short,
    signed,
    signed_difference,
    signed_interval,
)
from dalib.report.next_steps import NextSteps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dalib.records.estimate import OpenSet, Share
    from dalib.records.evaluation import Evaluation, MeasuredModel, Paired
    from dalib.records.folder import RunRecords
    from dalib.records.judgement import Judgement
    from dalib.records.labelled import Labelled
    from dalib.records.selection import Selection
    from dalib.records.summary import Summary
    from dalib.report.next_steps import Step, Tone

SIGNIFICANT = 0.05  # a smaller p value is hardly chance

Kind = Literal["measured", "estimated", "none"]

_WORDS = {"helped": "helped", "hurt": "hurt", "unclear": "made no clear difference"}
_BAD = {"hurt": "hurt", "collapsed": "collapsed"}  # outcomes of a judgement that the first line has to tell


@dataclass(frozen=True)
class Verdict:
    """A headline, the sentences under it, and what to do next.

    Attributes:
        kind: whether labels were measured against, or the answer is an estimate.
        reasons: of an estimate, a list.
    """

    tone: Tone
    headline: str
    notes: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    kind: Kind = "none"
    reasons: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """All commands of the steps; empty where there are none."""
        return "\n\n".join(step.command for step in self.steps)


def verdict_of(records: RunRecords, run: str, config: str = "CONFIG") -> Verdict:
    """Returns in plain words whether adaptation helped.

    Args:
        records: of the run. What decided the selection gives the headline, or else the first evaluation; the others,
            and labels of a few target images, give a note each. With labels the judgement is only compared with them.
        run: the run's folder.
        config: the run's config.yaml.
    """
    summary, judgement, selection = records.summary, records.judgement, records.selection
    if judgement is not None:
        judgement = replace(judgement, headline=_OLD_ENDING.sub("", judgement.headline))
    selected = _selected(judgement, selection)
    measured = [judged(evaluation) for evaluation in records.evaluations]
    if records.labelled is not None:
        measured.insert(0 if records.few_labels_first else len(measured), sampled(records.labelled))
    next_steps = NextSteps.of(records, run, config)
    if summary.status != "done" and not (measured and summary.status == "collapsed"):  # labels overrule its signs
        return _with_kind(_not_done(summary, measured, judgement, next_steps, selected), summary.target_kind)
    if measured:
        better = _better(measured[0], next_steps)
        verdict = _with_labels(measured, judgement, (*selected, *_optimism(records), *better))
        verdict = replace(verdict, steps=next_steps.measured(verdict.tone))
    elif judgement is not None and judgement.headline:
        verdict = _estimated(judgement, selected)
        verdict = replace(verdict, steps=next_steps.estimated(judgement))
    else:
        verdict = replace(_unknown(summary), steps=next_steps.unknown())
    return _with_kind(_stopped_early(verdict, summary.stopped), summary.target_kind)


def judged(evaluation: Evaluation) -> Verdict:
    """Returns the verdict of one evaluation.

    A difference is clear where its 95% interval leaves out 0, which also decides the run's selection. Both models see
    the same images, so the interval is of the images that only one of them gets right; McNemar's exact test on these is
    reported beside it. Older runs, in which these images were not counted, are judged by whether the intervals of
    the two accuracies overlap, which misses smaller differences.
    """
    models = evaluation.models
    where = f"on {short(evaluation.data)} ({_images_of(evaluation)})"
    if not models:
        return Verdict("unknown", f"No model was measured {where}", kind="measured")
    baseline = evaluation.baseline
    if baseline is None:
        name, measures = next(iter(models.items()))
        note = (
            "No source-only model was trained, so it is unknown whether adaptation helped."
            if name == "adapted"
            else "This model was trained without adaptation, so there is nothing to compare it with."
        )
        return Verdict(
            "unknown", f"The {name} model reaches {percent(measures.accuracy)} {where}", (note,), kind="measured"
        )

    adapted, before = models[ADAPTED], models[baseline]
    points = points_between(adapted.accuracy, before.accuracy)
    gain = (
        f"{signed(abs(points))[1:]} points {'more' if points > 0 else 'less'}"
        if points
        else "the same to a tenth of a point"
    )
    paired = _paired(evaluation, baseline)
    if paired:
        tone, why = _by_pairs(paired, evaluation.count, gain)
    else:
        tone, why = _by_intervals(adapted, before, baseline, gain)
    others = [
        f"The {name} model reaches {percent(each.accuracy)} {where}."
        for name, each in models.items()
        if name not in (ADAPTED, baseline)
    ]
    return Verdict(
        tone,
        f"Adaptation {_WORDS[tone]}: {ADAPTED} {percent(adapted.accuracy)}, "
        f"{baseline} {percent(before.accuracy)} {where}",
        (why, *others, *_of_unknown(evaluation.unknown, _open_sets(evaluation))),
        kind="measured",
    )


def _open_sets(evaluation: Evaluation) -> dict[str, OpenSet]:
    return {name: each.open_set for name, each in evaluation.models.items() if each.open_set}


def _of_unknown(unknown: Share | None, open_sets: Mapping[str, OpenSet] | None) -> list[str]:
    """Returns the sentence on images of none of the classes, where there are such or the run expects them."""
    if not open_sets or unknown is None:
        return []
    measured = "; ".join(f"{name} {each.in_words()}" for name, each in open_sets.items())
    return [f"{unknown} of the images are of none of the classes. Right are {measured}."]


def sampled(labelled: Labelled) -> Verdict:
    """Returns the verdict of labels of a few target images; clear where the interval of the difference leaves out 0."""
    unseen = " that training did not see" if labelled.held_out else ""
    where = f"from the labels of {counted(labelled.count, 'target image')}{unseen}"
    models, difference = labelled.models, labelled.difference
    known = None if difference is None else (difference.low, difference.value, difference.high)
    baseline = labelled.baseline or BASELINE
    if known is None or None in known or not {ADAPTED, baseline} <= models.keys():
        said = ", ".join(f"{percent(each.value)} {name}" for name, each in models.items())
        return Verdict("unknown", f"About {said}, {where}", labelled.notes, kind="measured")
    low, value, high = (each or 0.0 for each in known)
    tone = _tone_of(low, high)
    points = signed_interval((low, high))
    others = [
        f"The {name} model reaches about {percent(each.value)} {where}."
        for name, each in models.items()
        if name not in (ADAPTED, baseline) and each.value is not None
    ]
    # of models that agree on every image, or a target that is labelled as a whole, the interval is a point
    chance = ", so there may be none: label more images to know" if tone == "unclear" and low < high else ""
    return Verdict(
        tone,
        f"Adaptation {_WORDS[tone]}: adapted about {percent(models[ADAPTED].value)}, "
        f"{baseline} {percent(models[baseline].value)}, {where}",
        (
            f"The difference is {signed_difference(value)} points (95% interval {points}){chance}.",
            *others,
            *_of_unknown(labelled.unknown, labelled.open_sets),
            *(sentence(note) for note in labelled.notes),
        ),
        kind="measured",
    )


def _images_of(evaluation: Evaluation) -> str:
    said = counted(evaluation.count, "image")
    return said if evaluation.groups is None else f"{said} in {counted(evaluation.groups, 'group')}"


def _paired(evaluation: Evaluation, baseline: str) -> Paired | None:
    """Images that only adapted, and only the baseline, gets right; None where it was not counted."""
    if (paired := evaluation.compared(ADAPTED, baseline)) is None:
        return None
    first, second = paired.only_first, paired.only_second
    return paired if min(first, second) >= 0 and first + second <= evaluation.count else None


def _by_pairs(paired: Paired, count: int, gain: str) -> tuple[Tone, str]:
    first, second, baseline = paired.only_first, paired.only_second, paired.second
    chance = mcnemar(first, second) if paired.p is None else paired.p
    low_high = paired.interval or paired_difference_interval(first, second, count)
    test = "the exact McNemar test" if paired.p is None else "the sign test of groups"
    difference = f"That is {gain} (95% interval of the difference: {signed_interval(low_high)} points)."
    if not first + second:
        return "unclear", f"{difference} The two models are right on the same images."
    split = (
        f"Only the adapted model is right on {counted(first, 'image')}, only the {baseline} one on {second:,}; two "
        f"equally good models split at least as unevenly by chance with p {_chance(chance)} ({test})."
    )
    tone = _tone_of(*low_high)
    clear, rare = tone != "unclear", chance < SIGNIFICANT
    if clear and not rare:
        split += " By that test the difference may be chance; the interval decides, here and for the selected model."
    elif rare and not clear:
        split += " The interval decides, and it contains 0."
    elif not clear:
        split += " The difference may be chance."
    return tone, f"{difference} {split}"


def _tone_of(low: float, high: float) -> Tone:
    """Returns the tone by the interval of the difference, which is clear where it leaves out 0."""
    return "helped" if low > 0 else "hurt" if high < 0 else "unclear"


def _chance(p: float) -> str:
    return f"= {p:.2g}" if p >= 0.001 else "< 0.001"


def _by_intervals(adapted: MeasuredModel, before: MeasuredModel, baseline: str, gain: str) -> tuple[Tone, str]:
    tone: Tone = "unclear"
    if adapted.interval[0] > before.interval[1]:
        tone = "helped"
    elif adapted.interval[1] < before.interval[0]:
        tone = "hurt"
    overlap = "overlap, so the difference may be chance" if tone == "unclear" else "do not overlap"
    return tone, (
        f"That is {gain}. The confidence intervals, {interval(adapted.interval)} adapted and "
        f"{interval(before.interval)} {baseline}, {overlap}. "
        "A difference is called clear where they do not overlap, which is a cautious rule."
    )


def _with_labels(measured: list[Verdict], judgement: Judgement | None, selected: tuple[str, ...]) -> Verdict:
    first, *others = measured
    headline, outcome = first.headline, judgement.outcome if judgement else ""
    if outcome == "collapsed" and first.tone == "hurt":
        headline = headline.replace("Adaptation hurt", "Adaptation collapsed and hurt", 1)
    elif outcome in _BAD and first.tone != outcome:
        headline += f"; without labels it was judged “{_BAD[outcome]}”"
    notes = [*first.notes, *(f"{verdict.headline}." for verdict in others)]
    if judgement is not None and judgement.nothing_learnt and first.tone != "helped":
        headline = f"Nothing was learnt. {headline}"
        notes += _reasons(judgement)
    if judgement is not None and judgement.target:
        notes.append(sentence(judgement.target))
    if judgement is not None and judgement.headline:
        notes.append(f"Without these labels, the judgement was: {sentence(judgement.headline)}")
    return Verdict(first.tone, headline, (*notes, *selected), kind="measured")


def _better(measured: Verdict, next_steps: NextSteps) -> tuple[str, ...]:
    """Returns the remark on a model that is better by the labels and yet not selected."""
    better = next_steps.better(measured.tone)
    if not better:
        return ()
    keep = next_steps.keep(better)
    return (f"On these labels the {better} model is better; it is in {better}/model/. To select it: {keep}",)


def _optimism(records: RunRecords) -> tuple[str, ...]:
    """Returns the remark on an accuracy that was measured with the labels that selected the model."""
    selection, labelled = records.selection, records.labelled
    if selection is None:
        return ()
    here = any(selection.chosen_on("evaluation", each.data) for each in records.evaluations)
    if not here and not selection.chosen_on("labelled", labelled.labels if labelled else None):
        return ()
    return (
        f"These labels have selected the {selection.model} model, so its accuracy on them is a little too high; labels "
        "that had no part in selecting it give a fair one.",
    )


def _estimated(judgement: Judgement, selected: tuple[str, ...]) -> Verdict:
    estimates = {name: each.estimate or Estimate() for name, each in judgement.models.items()}
    headline, notes = _alone(judgement, estimates) if judgement.outcome == "alone" else _compared(judgement)
    tones: dict[str, Tone] = {"collapsed": "hurt", "hurt": "hurt", "helped": "helped", "unclear": "unclear"}
    return Verdict(
        tones.get(judgement.outcome, "unknown"),
        headline,
        (*notes, *_unreliable(estimates), *selected),
        kind="estimated",
        reasons=_reasons(judgement),
    )


def _unreliable(estimates: dict[str, Estimate]) -> list[str]:
    """Returns why estimates are not reliable, a sentence for each reason."""
    models: dict[str, list[str]] = {}
    for name, estimate in in_order(estimates).items():
        if not estimate.reliable:
            models.setdefault(estimate.reason or "no reason given", []).append(name)
    return [
        f"The estimate{'s' if len(names) > 1 else ''} for {' and '.join(names)} {'are' if len(names) > 1 else 'is'} "
        f"not reliable: {reason}."
        for reason, names in models.items()
    ]


def _alone(judgement: Judgement, estimates: dict[str, Estimate]) -> tuple[str, list[str]]:
    """Returns headline and notes where there is only one model."""
    said, notes = judgement.headline.rstrip(". "), [_ESTIMATE]
    (name, estimate), *_ = [*estimates.items()] or [("", Estimate())]
    if estimate.value is None:
        return said, notes
    return f"The {name} model is estimated to reach {percent(estimate.value)} on the target", [*notes, sentence(said)]


def _compared(judgement: Judgement) -> tuple[str, list[str]]:
    """Returns headline and notes of the comparison of several models without labels."""
    headline, outcome, probability = judgement.headline.rstrip(". "), judgement.outcome, judgement.probability_of_help
    if outcome in _BAD and _BAD[outcome][:8] not in headline.lower():
        headline = f"Adaptation {_BAD[outcome]}: {headline}"
    if outcome == "unclear" and not judgement.at_chance and not _CANNOT_TELL.search(headline):
        headline = f"Can't tell which model is better. {headline}"
        if probability is not None:
            better, other = "adapted", judgement.baseline or BASELINE
            if probability < 0.5:
                better, other = other, better
            headline = cannot_tell(better, other, likelihood(max(probability, 1 - probability)))
    if probability is not None and "probability" not in headline:
        return headline, [
            f"The probability that the adapted model is better than {judgement.baseline or BASELINE} is "
            f"{likelihood(probability)}. {_ESTIMATE}"
        ]
    if (
        probability is None
        and not headline.endswith("too few")
        and "estimate" not in headline.lower()
        and not judgement.same_predictions
        and not judgement.nothing_learnt
    ):
        headline += " (an estimate, not a measurement)"
    return headline, [] if judgement.same_predictions else [_ESTIMATE]


_ESTIMATE = (
    "This is an estimate without target labels, not a measurement: it can be wrong in ways that unlabelled images do "
    "not show."
)
_CANNOT_TELL = re.compile(r"\bcan(no|.)t tell\b", re.IGNORECASE)

_OLD_ENDING = re.compile(r": the (adapted|source-only) model predicts$")
"""The ending of older headlines that names the selected model, which may have changed since."""


def _selected(judgement: Judgement | None, selection: Selection | None) -> tuple[str, ...]:
    """Returns which model is selected, and by whom."""
    if selection is not None:
        return (f"{selection.sentence}.",) if judgement or selection.by != "judgement" else ()
    return (f"The {judgement.shipped} model is the selected model of this run.",) if judgement else ()


def _reasons(judgement: Judgement | None) -> tuple[str, ...]:
    return tuple(sentence(reason) for reason in judgement.reasons) if judgement else ()


def _with_kind(verdict: Verdict, kind: RecordedKind | None) -> Verdict:
    """Adds what the target seems to be, with its probabilities, where they were estimated and no reason has them."""
    told = any(each.startswith(RecordedKind.OPENING) for each in (*verdict.notes, *verdict.reasons))
    if kind is None or not kind.estimated or told:
        return verdict
    return replace(verdict, reasons=(*verdict.reasons, sentence(kind.in_words())))


def _stopped_early(verdict: Verdict, stopped: Stopped | None) -> Verdict:
    if stopped is None:
        return verdict
    headline = f"Training was stopped{_at(stopped)}. {verdict.headline}"
    notes = (sentence(stopped.reason), *verdict.notes) if stopped.reason else verdict.notes
    return replace(verdict, headline=headline, notes=notes)


def _at(stopped: Stopped) -> str:
    return "" if stopped.step is None else f" at step {stopped.step:,}"


def _not_done(
    summary: Summary,
    measured: list[Verdict],
    judgement: Judgement | None,
    next_steps: NextSteps,
    selected: tuple[str, ...],
) -> Verdict:
    headline, *notes = _unfinished(summary.status, summary.stopped or Stopped(), next_steps.run)
    if measured:
        said = [f"{verdict.headline}." for verdict in measured]
        return Verdict("unfinished", headline, (*notes, *said, *selected), kind="measured")
    reasons = tuple(reason for reason in _reasons(judgement) if reason not in notes)
    if judgement is None:
        return Verdict("unfinished", headline, tuple(notes))
    return Verdict(
        "unfinished",
        headline,
        (*notes, *selected),
        next_steps.unfinished(),
        "estimated",
        reasons,
    )


def _unfinished(status: str, stopped: Stopped, run: str) -> tuple[str, ...]:
    reason = (sentence(stopped.reason),) if stopped.reason else ()
    if status == "diverged":
        return (
            f"Training diverged{_at(stopped)}: there is no result to trust",
            *(reason or ("A loss became NaN or infinite.",)),
            f"Lower the learning rate ({Setting('optimizer.lr')}), or look for images without content, and train "
            "again.",
        )
    if status == "collapsed":
        return (
            f"Training collapsed{_at(stopped)}: the adapted model is not reliable",
            *(reason or ("The predictions on the target fell into few classes.",)),
        )
    if status == "running":
        return (
            "Training is not finished: this is what is there so far",
            f"If it was stopped, {Call('dalib.adapt', Setting('resume', run))} goes on from its last checkpoint.",
        )
    return (f"Training is not finished: its status is “{short(status)}”", *reason)


def _unknown(summary: Summary) -> Verdict:
    changed, target = summary.changed, summary.counts.get("target", 0)
    notes = []
    if changed is not None:
        question = "whether adaptation helped"
        notes = [
            f"{round(changed * target):,} of {counted(target, 'target image')} ({percent(changed)}) changed class: on "
            "these, the adapted model and its baseline differ. Only labels show which of them is right."
        ]
    else:
        question = f"how good the {summary.own} model is on the target"
    return Verdict("unknown", f"Without labels, it is not known {question}", tuple(notes))
