"""``dalib compare``: which of several runs on one target is best: measured where there are labels, else judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table
from safetensors import SafetensorError
from safetensors.torch import load_file

from dalib.core.console import one_line, say, say_table
from dalib.core.errors import Call, Setting, UserError
from dalib.core.places import behind, in_short, where_it_lies
from dalib.core.words import counted, share_in_words
from dalib.data.named import NAMED, default_evaluation
from dalib.data.spelling import key_of
from dalib.judge.checked import as_probabilities
from dalib.judge.scores import ensemble_agreement
from dalib.judge.selection import ranked
from dalib.records.candidates import CANDIDATES
from dalib.records.estimate import Estimate
from dalib.records.evaluation import Evaluation
from dalib.records.folder import RunFolder
from dalib.records.images import ImageNames
from dalib.records.judgement import JudgedModel, Judgement
from dalib.records.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor


@dataclass(frozen=True)
class ComparedModel:
    """One model of a run.

    Attributes:
        target: (N, C) its probabilities of the target's images.
        scores: label-free.
        estimate: of its accuracy, in words.
    """

    target: Tensor
    scores: dict[str, float]
    estimate: str


@dataclass(frozen=True)
class LabelledSet:
    """Labels that models were measured on: equal where they are the same.

    Attributes:
        kind: evaluation, a labelled set; or labelled, labels of a few of the target's images.
        key: distinguishes sets of one kind, as the run's folder does: one folder has one key, however its path is
            spelled.
        data: what it is called.
    """

    kind: str
    key: str
    data: str = field(compare=False)
    count: int


@dataclass(frozen=True)
class Compared:
    """A run, as far as it is compared.

    Attributes:
        selected: the name of the selected model.
        by_labels: whether a measurement selected it.
        models: by name, the selected one first.
        outcome: of its adaptation, as judged without labels.
        accuracies: of each labelled set that the run was measured on, each model's accuracy.
    """

    path: str
    selected: str
    by_labels: bool
    models: dict[str, ComparedModel]
    outcome: str
    accuracies: dict[LabelledSet, dict[str, float]]

    @property
    def model(self) -> ComparedModel:
        return self.models[self.selected]

    @property
    def failed(self) -> bool:
        """Returns whether an adapted model that hurt or collapsed is selected: --keep adapted or the user lets it."""
        return self.selected == "adapted" and self.outcome in {"hurt", "collapsed"} and not self.by_labels


def compare_runs(runs: Sequence[RunFolder | str | Path]) -> list[str]:
    """Prints runs on the same target, the best first; returns their paths in that order, each once.

    Where all of them were measured on one labelled set (``dalib eval``, ``--evaluate``), the measured accuracy of each
    run's selected model decides; what a named target is measured on by default does not. Else label-free scores do.

    Raises:
        UserError: fewer than two runs, a run without a judgement, or runs on different images or classes.
    """
    different: dict[Path, RunFolder] = {}
    for run in map(RunFolder.of, runs):
        different.setdefault(run.root.resolve(), run)  # one that is given twice would have two votes in the agreement
    found = [*different.values()]
    if len(found) < 2:
        raise UserError(f"compare: expected at least two different runs, got {len(found)}")
    _require_same(found)
    compared = [_compared(run) for run in found]
    voters = [each for each in compared if not each.failed]
    agreements = dict.fromkeys([each.path for each in compared], 0.0)
    if len(voters) > 1:
        together = ensemble_agreement([each.model.target for each in voters]).tolist()
        agreements |= dict(zip([each.path for each in voters], together, strict=True))
    order = ranked(
        [each.model.scores for each in compared],
        [agreements[each.path] for each in compared],
        [each.failed for each in compared],
    )
    best = [compared[position] for position in order]
    common = _common(compared)
    if common is not None:
        best.sort(key=lambda each: -each.accuracies[common][each.selected])  # stable: scores decide between equals
    _print(best, agreements, common)
    _explain(best, common)
    return [each.path for each in best]


def _common(compared: Sequence[Compared]) -> LabelledSet | None:
    """Returns the largest labelled set that each run's selected model was measured on; None without one."""
    sets = [{each for each, accuracies in run.accuracies.items() if run.selected in accuracies} for run in compared]
    shared = set.intersection(*sets)
    return max(shared, key=lambda each: (each.count, each.kind == "evaluation", each.key), default=None)


def _compared(run: RunFolder) -> Compared:
    judgement = Judgement.read(run.judgement)
    try:
        selection = run.selection()
        shipped = judgement.shipped
        # of a run without a record of its selection the judgement tells it too
        selected: str = selection.model if run.selected.is_file() else shipped
        tensors = load_file(run.predictions)
        models = {
            name: _model_of(judgement.models[name], tensors[f"target/{name}"], name)
            for name in sorted((each.name for each in reversed(CANDIDATES)), key=lambda name: name != selected)
            if name == selected or (name in judgement.models and f"target/{name}" in tensors)
        }
        target = models[selected].target
        if len(target) != len(names := ImageNames.read(run.images).target):
            raise ValueError(f"predictions of {len(target)} images of {len(names)}")
        by_labels = selection.by == "measurement"
        outcome, accuracies = judgement.outcome, _accuracies(run)
    except (KeyError, TypeError, ValueError, AttributeError, OSError, SafetensorError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            Setting("run", run.root),
            f": judgement.json and predictions.safetensors do not fit each other ({type(error).__name__}: ",
            f"{error}); train it again",
        ) from None
    return Compared(str(run.root), selected, by_labels, models, outcome, accuracies)


def _model_of(judged: JudgedModel, target: Tensor, name: str) -> ComparedModel:
    as_probabilities(target, f"target/{name}")
    estimate = judged.estimate or Estimate()
    words = "-" if estimate.value is None else share_in_words(estimate.value)
    if not estimate.reliable:
        words += " ?"
    return ComparedModel(target, judged.scores, words)


def _accuracies(run: RunFolder) -> dict[LabelledSet, dict[str, float]]:
    """Returns the labelled sets that the run was measured on by request."""
    summary = Summary.read(run.summary)
    settings = summary.run_settings
    by_default = default_evaluation(summary.target) if settings.evaluate is None else None
    found: dict[LabelledSet, dict[str, float]] = {}
    for path in sorted(run.evaluations.glob("*.json")):
        result = Evaluation.read(path)
        # runs of older versions do not record whether the user asked
        if result.data != by_default if result.asked is None else result.asked:
            key = result.data if result.data in NAMED else path.stem
            labels = LabelledSet("evaluation", key, result.data, result.count)
            found[labels] = {name: each.accuracy for name, each in result.models.items()}
    few = run.read_labelled()
    if few is not None and not few.trained_on:
        which = f"held out by seed {settings.seed}" if few.held_out else ""
        labels = LabelledSet("labelled", f"{where_it_lies(few.labels)} {which}", few.labels, few.count)
        found[labels] = {model: each.value for model, each in few.models.items() if each.value is not None}
    return found


def _require_same(runs: Sequence[RunFolder]) -> None:
    first = runs[0]
    for run in runs:
        if not run.judgement.is_file():
            raise UserError(
                Setting("run", run.root),
                ": no judgement.json; it is not finished, or of an older version; `",
                run.resume_call,
                "` finishes it",
            )
    classes, names = Summary.read(first.summary).classes, ImageNames.read(first.images).target
    for run in runs[1:]:
        others = Summary.read(run.summary).classes, ImageNames.read(run.images).target
        if any(
            [*map(key_of, ours)] != [*map(key_of, theirs)]
            for ours, theirs in zip((classes, names), others, strict=True)
        ):
            raise UserError(
                Setting("run", run.root),
                f": another target, or other classes, than {first.root}; scores can only be compared on the same ",
                "images",
            )


def _have_clusters(runs: Sequence[Compared]) -> bool:
    """Returns whether all runs have the score that they are sorted by, ClassAMI; else Corr-C stands in for all."""
    return all("target_class_ami" in each.model.scores for each in runs)


def _print(best: Sequence[Compared], agreements: dict[str, float], common: LabelledSet | None) -> None:
    heading_of_score, score = ("clusters", "target_class_ami") if _have_clusters(best) else ("Corr-C", "target_corr_c")
    table = Table(box=None, pad_edge=False)
    for heading in ("", "run", "model"):
        table.add_column(heading, overflow="fold")  # the path of a run is there to be copied
    for heading in (*(() if common is None else ("measured",)), heading_of_score, "agreement", "estimate"):
        table.add_column(heading, justify="right")
    table.add_column("adaptation")
    for place, each in enumerate(best, 1):
        for name, model in each.models.items():
            first = name == each.selected
            measured = [] if common is None else [each.accuracies[common].get(name)]
            own = model.scores.get(score)
            table.add_row(
                str(place) if first else "",
                escape(one_line(each.path)) if first else "",
                escape(one_line(f"{name}, selected" if first else name)),
                *("-" if value is None else share_in_words(value) for value in measured),
                "-" if own is None else f"{own:.3f}",
                share_in_words(agreements[each.path]) if first and agreements[each.path] else "-",
                escape(one_line(model.estimate)),
                escape(one_line(each.outcome)) if first else "",
            )
    say_table(table)


def _explain(best: Sequence[Compared], common: LabelledSet | None) -> None:
    if common is not None:
        few = common.kind == "labelled"
        what = f"labels of the target{behind(', ', common.data)}" if few else in_short(common.data)
        say(
            f"Measured: runs are sorted by the accuracy of their selected models on "
            f"{one_line(what)} ({counted(common.count, 'labelled image')}).\n"
            "The best of several models on the same labels is a little worse on others; labels that selected nothing "
            "give an unbiased accuracy."
        )
    else:
        labels = "No target labels were used for this order."
        if any(each.by_labels for each in best):
            labels = "Labels decided which model is selected in some runs, but not the order of the runs."
        score = "clusters (ClassAMI: do predicted classes follow the clusters\nof the features? 1 is best)"
        if not _have_clusters(best):
            score = "Corr-C (are predictions confident and diverse? 1 is best;\nnot every run has a ClassAMI)"
        say(
            f"{labels} Runs are sorted by {score},\n"
            "then by agreement with the mean of the runs (EnsV). A run whose adaptation hurt or collapsed, but whose\n"
            "adapted model is selected, comes last and does not count in the mean. Among runs that worked, this order\n"
            "means little: in our study it chose no better than chance. The labels of 30 target images are better\n"
            "evidence."
        )
        if some := [each.path for each in best if each.accuracies]:
            measuring = Call("dalib.run.finished.measure.evaluate", Setting("run"), Setting("data", "DATA"))
            say(
                f"{', '.join(map(one_line, some))} {'was' if len(some) == 1 else 'were'} measured, but not all runs on "
                f"the same labels. To compare by accuracy, evaluate each run on the same "
                f"labels: {measuring}"
            )
    say("estimate: estimated accuracy (? = not reliable); adaptation: verdict without labels (unclear: can't tell).")
