"""Verdicts of runs that are nothing but records."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dalib.records.evaluation import Evaluation, MeasuredModel, Paired
from dalib.records.folder import RunRecords
from dalib.records.judgement import JudgedModel, Judgement
from dalib.records.summary import Summary
from dalib.report.verdict import Verdict, verdict_of

if TYPE_CHECKING:
    from dalib.records.labelled import Labelled
    from dalib.records.selection import Selection

DONE = Summary(status="done", method="self-ensemble", changed=0.25, counts={"target": 1200})


def evaluation(
    adapted: float, source_only: float, *, paired: tuple[int, int] | None = None, count: int = 600
) -> Evaluation:
    def measures(accuracy: float) -> MeasuredModel:
        return MeasuredModel(accuracy, (accuracy - 0.03, accuracy + 0.03))

    return Evaluation(
        "photos",
        count,
        {"adapted": measures(adapted), "source-only": measures(source_only)},
        paired=None if paired is None else (Paired("adapted", "source-only", *paired),),
    )


def judgement(outcome: Any, headline: str, shipped: Any = "adapted", **models: JudgedModel) -> Judgement:
    return Judgement(shipped, outcome, headline, ("a reason",), dict(models))


def verdict(
    summary: dict[str, Any] | None = None,
    *evaluations: Evaluation,
    labelled: Labelled | None = None,
    judgement: Judgement | None = None,
    selection: Selection | None = None,
) -> Verdict:
    told = RunRecords(replace(DONE, **(summary or {})), evaluations, labelled, judgement, selection)
    return verdict_of(told, "RUN")


def said(found: Verdict) -> str:
    return " ".join((found.headline, *found.reasons, *found.notes))
