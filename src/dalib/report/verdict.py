"""Did adaptation help? The first lines of the report: measured where there are labels, else estimated."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from dalib.core.errors import Setting
from dalib.judge.paired import mcnemar, paired_difference_interval
from dalib.report.figures import (
    counted,
    interval,
    likelihood,
    number,
    percent,
    points_between,
    sentence,
    short,
    signed,
    signed_interval,
)

if TYPE_CHECKING:
    from dalib.records.selection import Selection

SIGNIFICANT = 0.05  # a smaller p value is called a clear difference

Json = dict[str, Any]
Tone = Literal["helped", "hurt", "unclear", "unknown", "unfinished"]
Kind = Literal["measured", "estimated", "none"]

_WORDS = {"helped": "helped", "hurt": "hurt", "unclear": "made no clear difference"}
_PAIR = ("adapted", "source-only")
_BAD = {"hurt": "hurt", "collapsed": "collapsed"}  # outcomes of a judgement that the first line has to tell


@dataclass(frozen=True)
class Step:
    """One thing to do next, and the command that does it."""

    text: str
    command: str


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


def verdict_of(
    summary: Json,
    evaluations: list[Json],
    labelled: Json,
    judgement: Json,
    run: str,
    selection: Selection | None = None,
    config: str = "CONFIG",
) -> Verdict:
    """Did adaptation help? In plain words.

    Args:
        summary: summary.json.
        evaluations: the labelled measurements; the first gives the headline, the others a note each.
        labelled: labelled.json, or empty: labels of a few target images.
        judgement: judgement.json, or empty. With labels it is only compared with them.
        run: the run's folder as it is written on a command line.
        selection: which model is selected, and by whom; None where only the judgement tells.
        config: the run's config.yaml as it is written on a command line.
    """
    if judgement.get("headline"):
        judgement = judgement | {"headline": _OLD_ENDING.sub("", str(judgement["headline"]))}
    selected = _selected(judgement, selection)
    measured = [judged(evaluation) for evaluation in evaluations]
    if labelled:
        measured.append(sampled(labelled))
    status, name = str(summary.get("status", "running")), selection.model if selection else judgement.get("shipped")
    advice = _Advice(run, config, str(name or ""), str((summary.get("settings") or {}).get("backbone") or ""))
    if status != "done":
        return _not_done(status, summary, measured, judgement, advice, selected)
    if measured:
        optimistic = _optimism(evaluations, labelled, selection)
        better = _better(measured[0], advice)
        verdict = _with_labels(measured, judgement, (*selected, *optimistic, *better))
        verdict = replace(verdict, steps=advice.measured(verdict.tone))
    elif judgement.get("headline"):
        verdict = _estimated(judgement, selected)
        verdict = replace(verdict, steps=advice.estimated(judgement))
    else:
        verdict = _unknown(summary, run)
    return _stopped_early(verdict, summary.get("stopped") or {})


def judged(evaluation: Json) -> Verdict:
    """What one evaluation says.

    Both models see the same images, so McNemar's exact test on the images that only one of them gets right decides
    whether a difference is clear. Runs of before that was counted are judged by whether the intervals of the two
    accuracies overlap, which misses smaller differences.
    """
    models = evaluation["models"]
    where = f"on {short(evaluation['data'])} ({counted(evaluation['count'], 'image')})"
    if not set(_PAIR) <= models.keys():
        name, measures = next(iter(models.items()))
        note = (
            "No source-only model was trained, so nobody can say whether adaptation helped."
            if name == "adapted"
            else "This model was trained without adaptation, so there is nothing to compare it with."
        )
        return Verdict(
            "unknown", f"The {name} model reaches {percent(measures['accuracy'])} {where}", (note,), kind="measured"
        )

    adapted, source_only = models["adapted"], models["source-only"]
    points = points_between(adapted["accuracy"], source_only["accuracy"])
    gain = (
        f"{abs(points):.1f} points {'more' if points > 0 else 'less'}" if points else "the same to a tenth of a point"
    )
    paired = _paired(evaluation)
    tone, why = _by_pairs(*paired, evaluation["count"], gain) if paired else _by_intervals(adapted, source_only, gain)
    return Verdict(
        tone,
        f"Adaptation {_WORDS[tone]}: {percent(adapted['accuracy'])} against {percent(source_only['accuracy'])} "
        f"source-only {where}",
        (why,),
        kind="measured",
    )


def sampled(labelled: Json) -> Verdict:
    """What the labels of a few target images say: clear where the interval of the difference leaves out zero."""
    unseen = " that training did not see" if labelled.get("held_out") else ""
    where = f"from the labels of {counted(labelled['count'], 'target image')}{unseen}"
    models, difference = labelled["models"], labelled.get("difference") or {}
    low, value, high = (number(difference.get(key)) for key in ("low", "value", "high"))
    if low is None or value is None or high is None or not set(_PAIR) <= models.keys():
        said = ", ".join(f"{percent(each.get('value'))} {name}" for name, each in models.items())
        return Verdict("unknown", f"About {said}, {where}", tuple(labelled.get("notes") or ()), kind="measured")
    tone: Tone = "helped" if low > 0 else "hurt" if high < 0 else "unclear"
    points = signed_interval((low, high))
    chance = ", so there may be none: label more images to know" if tone == "unclear" else ""
    return Verdict(
        tone,
        f"Adaptation {_WORDS[tone]}: about {percent(models['adapted'].get('value'))} against "
        f"{percent(models['source-only'].get('value'))} source-only, {where}",
        (
            f"The difference is {signed(round(100 * value, 1))} points (95% interval {points}){chance}.",
            *(sentence(note) for note in labelled.get("notes") or ()),
        ),
        kind="measured",
    )


def _paired(evaluation: Json) -> tuple[int, int] | None:
    """Images that only adapted, and only source-only, gets right; nothing where it was not counted."""
    paired = evaluation.get("paired") or {}
    first, second = number(paired.get("adapted")), number(paired.get("source_only"))
    if first is None or second is None or first < 0 or second < 0 or first + second > evaluation["count"]:
        return None
    return int(first), int(second)


def _by_pairs(first: int, second: int, count: int, gain: str) -> tuple[Tone, str]:
    chance = mcnemar(first, second)
    low_high = paired_difference_interval(first, second, count)
    difference = f"That is {gain} (95% interval of the difference: {signed_interval(low_high)} points)."
    if not first + second:
        return "unclear", f"{difference} The two models are right on the same images."
    split = (
        f"Only the adapted model is right on {counted(first, 'image')}, only the source-only one on {second:,}; "
        "two equally good models split"
    )
    if chance < SIGNIFICANT:
        tone: Tone = "helped" if first > second else "hurt"
        return tone, f"{difference} {split} so unevenly by chance with p {_chance(chance)} (the exact McNemar test)."
    margin = " It decides, also where the interval just leaves out zero." if low_high[0] > 0 or low_high[1] < 0 else ""
    return "unclear", (
        f"{difference} {split} at least as unevenly with p {_chance(chance)} (the exact McNemar test), "
        f"so the difference may be chance.{margin}"
    )


def _chance(p: float) -> str:
    return f"= {p:.2g}" if p >= 0.001 else "< 0.001"


def _by_intervals(adapted: Json, source_only: Json, gain: str) -> tuple[Tone, str]:
    tone: Tone = "unclear"
    if adapted["interval"][0] > source_only["interval"][1]:
        tone = "helped"
    elif adapted["interval"][1] < source_only["interval"][0]:
        tone = "hurt"
    overlap = "overlap, so the difference may be chance" if tone == "unclear" else "do not overlap"
    return tone, (
        f"That is {gain}. The confidence intervals, {interval(adapted['interval'])} adapted and "
        f"{interval(source_only['interval'])} source-only, {overlap}. "
        "A difference is called clear where they do not overlap, which is a cautious rule."
    )


def _with_labels(measured: list[Verdict], judgement: Json, selected: tuple[str, ...]) -> Verdict:
    first, *others = measured
    headline, outcome = first.headline, judgement.get("outcome")
    if outcome == "collapsed" and first.tone == "hurt":
        headline = headline.replace("Adaptation hurt", "Adaptation collapsed and hurt", 1)
    elif outcome in _BAD and first.tone != outcome:
        headline += f"; without labels it was judged “{_BAD[outcome]}”"
    notes = [*first.notes, *(f"{verdict.headline}." for verdict in others)]
    if _nothing_was_learnt(judgement) and first.tone != "helped":
        headline = f"Nothing was learnt. {headline}"
        notes += _reasons(judgement)
    if judgement.get("headline"):
        notes.append(f"Without these labels, the judgement was: {sentence(judgement['headline'])}")
    return Verdict(first.tone, headline, (*notes, *selected), kind="measured")


def _better(measured: Verdict, advice: _Advice) -> tuple[str, ...]:
    """The model that is not selected, where labels say that it is the better one."""
    better = advice.better(measured.tone)
    if not better:
        return ()
    return (
        f"On these labels the {better} model is better; it is in {better}/model/. To select it: dalib keep "
        f"{advice.run} {better}",
    )


def _optimism(evaluations: list[Json], labelled: Json, selection: Selection | None) -> tuple[str, ...]:
    """What to add where the accuracy of the selected model is quoted from the labels that selected it."""
    if selection is None:
        return ()
    here = any(selection.chosen_on("evaluation", each.get("data")) for each in evaluations)
    if not here and not selection.chosen_on("labelled", labelled.get("labels")):
        return ()
    return (
        f"These labels have selected the {selection.model} model, so its accuracy on them is a little too high; labels "
        "that had no part in selecting it give a fair one.",
    )


def _estimated(judgement: Json, selected: tuple[str, ...]) -> Verdict:
    outcome, said = judgement.get("outcome"), str(judgement["headline"]).rstrip(". ")
    estimates = {name: (each or {}).get("estimate") or {} for name, each in (judgement.get("models") or {}).items()}
    headline, notes, probability = said, [_ESTIMATE], probability_of(judgement)
    if outcome == "alone":
        (name, value), *_ = [(name, number(each.get("value"))) for name, each in estimates.items()] or [("", None)]
        if value is not None:
            headline = f"The {name} model is estimated to reach {percent(value)} on the target"
            notes.append(sentence(said))
    else:
        if outcome in _BAD and _BAD[outcome][:8] not in headline.lower():
            headline = f"Adaptation {_BAD[outcome]}: {headline}"
        if outcome == "unclear" and not judgement.get("at_chance") and not _CANNOT_TELL.search(headline):
            headline = f"Can't tell which model is better. {headline}"
            if probability is not None:
                chance = likelihood(probability)
                headline = f"Can't tell which model is better: with a probability of {chance} it is the adapted one"
        if probability is not None and "probability" not in headline:
            notes = [
                f"The probability that the adapted model is better than source-only is {likelihood(probability)}. No "
                "target label was used: this is an estimate, which can be wrong in ways that no unlabelled image shows."
            ]
        elif probability is None and "estimate" not in headline.lower() and not _nothing_was_learnt(judgement):
            headline += " (an estimate, not a measurement)"
    tone: Tone = "unknown"
    if outcome in _BAD:
        tone = "hurt"
    elif outcome in ("helped", "unclear"):
        tone = "helped" if outcome == "helped" else "unclear"
    notes += [
        f"The estimate for the {name} model is not reliable: {estimates[name].get('reason') or 'no reason given'}."
        for name in _PAIR
        if name in estimates and not estimates[name].get("reliable", True)
    ]
    return Verdict(tone, headline, (*notes, *selected), kind="estimated", reasons=_reasons(judgement))


def probability_of(judgement: Json) -> float | None:
    """The probability that adaptation helped, as judged without labels.

    None where the judgement has none, or goes by another sign: a collapse, or a model at chance on the source.
    """
    if judgement.get("at_chance") or judgement.get("outcome") not in ("helped", "unclear", "hurt"):
        return None
    value = number(judgement.get("probability"))
    return None if value is None or not 0 <= value <= 1 else value


_ESTIMATE = (
    "No target label was used. This is an estimate and not a measurement: it can be wrong in ways that no unlabelled "
    "image shows."
)
_CANNOT_TELL = re.compile(r"\bcan(no|.)t tell\b", re.IGNORECASE)
_SMALL = ("small", "digits", "paper-small", "paper-large")
"""Backbones that are trained from random weights."""


@dataclass(frozen=True)
class _Advice:
    """What to do next with a run of which one model is selected."""

    run: str
    config: str
    selected: str
    backbone: str

    def estimated(self, judgement: Json) -> tuple[Step, ...]:
        """After a judgement without labels: labels first where only they can tell."""
        outcome = judgement.get("outcome")
        if _nothing_was_learnt(judgement):
            return (self._train_again(),)
        steps = [self._label(outcome), self._measure()]
        if self.selected in _PAIR and outcome in ("helped", "unclear", "hurt"):
            other = self._other()
            steps.append(
                Step(f"If the {other} model's answers look better to you, select it.", f"dalib keep {self.run} {other}")
            )
        return (*steps, *([] if outcome == "helped" else [self._train_again()]))

    def measured(self, tone: Tone) -> tuple[Step, ...]:
        """After a measurement."""
        if better := self.better(tone):
            return (Step(f"Select the {better} model.", f"dalib keep {self.run} {better}"),)
        if tone == "unclear":
            more = "Label more target images, until the interval of the difference leaves out 0."
            return Step(more, f"dalib query {self.run} --n 200 --out to_label.csv"), self._train_again()
        return (self._train_again(),) if tone == "hurt" else ()

    def unfinished(self) -> tuple[Step, ...]:
        """After a training that failed and left models."""
        return self._label("collapsed"), self._measure()

    def better(self, tone: Tone) -> str:
        """The model that labels say is better, where another one is selected; else empty."""
        found = {"helped": "adapted", "hurt": "source-only"}.get(tone, "")
        return found if self.selected in _PAIR and found != self.selected else ""

    def _other(self) -> str:
        return next(name for name in _PAIR if name != self.selected)

    def _label(self, outcome: object) -> Step:
        text = {
            "unclear": "Label 30 target images: only labels can tell the models apart. A clear result selects the "
            "better one.",
            "alone": "Label 30 target images, to know how good the model is.",
        }
        sure = "To make sure, label 30 target images. A clear result selects the better model."
        return Step(
            text.get(str(outcome), sure),
            f"dalib query {self.run} --n 30 --out to_label.csv\ndalib eval {self.run} --labels to_label.csv",
        )

    def _measure(self) -> Step:
        return _measure(self.run)

    def _train_again(self) -> Step:
        text = "Train again with a stronger backbone: it most often raises both models."
        if self.backbone in _SMALL:
            text = f"Photographs? Train again with a pretrained backbone, in place of “{self.backbone}”."
        return Step(text, f"dalib train --config {self.config} --backbone NAME --weights FILE --out NEW-FOLDER")


def _measure(run: str) -> Step:
    return Step(
        "If you have labelled target images, in a folder for each class, measure on them.",
        f"dalib eval {run} --data FOLDER",
    )


_OLD_ENDING = re.compile(r": the (adapted|source-only) model predicts$")
"""Of headlines of older runs: which model is selected may have changed since, and is said in a sentence of its own."""


def _selected(judgement: Json, selection: Selection | None) -> tuple[str, ...]:
    """Which model is selected, and by whom."""
    if selection is not None:
        return (f"{selection.sentence}.",) if judgement or selection.by != "judgement" else ()
    shipped = judgement.get("shipped")
    return (f"The {short(str(shipped))} model is the selected model of this run.",) if shipped else ()


def _nothing_was_learnt(judgement: Json) -> bool:
    """Whether all models are at chance on the source's validation images, which is measured and no estimate."""
    at_chance, models = judgement.get("at_chance") or (), judgement.get("models") or {}
    return bool(models) and all(name in at_chance for name in models)


def _reasons(judgement: Json) -> tuple[str, ...]:
    return tuple(sentence(reason) for reason in judgement.get("reasons") or ())


def _stopped_early(verdict: Verdict, stopped: Json) -> Verdict:
    if not stopped:
        return verdict
    headline = f"Training was stopped{_at(stopped)}. {verdict.headline}"
    notes = (sentence(stopped["reason"]), *verdict.notes) if stopped.get("reason") else verdict.notes
    return replace(verdict, headline=headline, notes=notes)


def _at(stopped: Json) -> str:
    step = number(stopped.get("step"))
    return "" if step is None else f" at step {step:,.0f}"


def _not_done(
    status: str, summary: Json, measured: list[Verdict], judgement: Json, advice: _Advice, selected: tuple[str, ...]
) -> Verdict:
    headline, *notes = _unfinished(status, summary.get("stopped") or {}, advice.run)
    if measured:
        said = [f"{verdict.headline}." for verdict in measured]
        return Verdict("unfinished", headline, (*notes, *said, *selected), kind="measured")
    reasons = tuple(reason for reason in _reasons(judgement) if reason not in notes)
    if not judgement:
        return Verdict("unfinished", headline, tuple(notes))
    return Verdict(
        "unfinished",
        headline,
        (*notes, *selected),
        advice.unfinished(),
        "estimated",
        reasons,
    )


def _unfinished(status: str, stopped: Json, run: str) -> tuple[str, ...]:
    reason = (sentence(stopped["reason"]),) if stopped.get("reason") else ()
    if status == "diverged":
        return (
            f"Training diverged{_at(stopped)}: there is no result to trust",
            *(reason or ("A loss became NaN or infinite.",)),
            f"Lower the learning rate ({Setting('optimizer.lr')}), or look for images without content, and train "
            "again.",
        )
    if status == "collapsed":
        return (
            f"Training collapsed{_at(stopped)}: the adapted model is not to be trusted",
            *(reason or ("The predictions on the target fell into few classes.",)),
        )
    if status == "running":
        return (
            "Training is not finished: this is what is there so far",
            f"If it was stopped, dalib train --resume {run} goes on from its last checkpoint.",
        )
    return (f"Training is not finished: its status is “{short(status)}”", *reason)


def _unknown(summary: Json, run: str) -> Verdict:
    changed, target = summary.get("changed"), summary.get("counts", {}).get("target", 0)
    notes = []
    if changed is not None:
        question = "whether adaptation helped"
        notes = [
            f"{round(changed * target):,} of {counted(target, 'target image')} ({percent(changed)}) changed class: on "
            "these, the adapted and the source-only model differ. Only labels tell which of them is right."
        ]
    else:
        only = "source-only" if summary.get("method") == "source-only" else "adapted"
        question = f"how good the {only} model is on the target"
    return Verdict(
        "unknown",
        f"Without labels, nobody can say for sure yet {question}",
        tuple(notes),
        (_measure(run),),
    )
