"""Numbers that matter, beside the bars of the accuracies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dalib.core.words import counted, likelihood
from dalib.records.candidates import ADAPTED, in_order
from dalib.report.figures import duration, percent, points_between, signed

if TYPE_CHECKING:
    from dalib.records.folder import RunRecords


@dataclass(frozen=True)
class Tile:
    """A number that matters, what it is, and a remark."""

    name: str
    value: str
    note: str = ""


def tiles(records: RunRecords) -> list[Tile]:
    """Returns the numbers that there are, of the verdict and of the run's size; accuracies are bars beside them."""
    found, judgement = [], records.judgement
    probability = judgement.probability_of_help if judgement else None
    if probability is not None:
        how = "as judged without labels" if records.evaluations or records.labelled else "estimated without labels"
        found.append(Tile("Probability that adaptation helped", likelihood(probability), how))
    elif judgement is not None and judgement.same_predictions:
        found.append(Tile("Effect of adaptation", "none", "all models compared predict the same class for every image"))
    summary = records.summary
    if gain := _gain(records):
        found.append(gain)
    if summary.changed is not None:
        baseline = judgement.baseline if judgement else None
        note = f"of the target images, compared with {baseline}" if baseline else "of the target images"
        found.append(Tile("Changed class", percent(summary.changed), note))
    if unknown := _unknown(records):
        found.append(unknown)
    if "target" in summary.counts:
        found.append(Tile("Target images", f"{summary.counts['target']:,}", _labels_in_words(records)))
    seconds = in_order(summary.seconds)
    if seconds:
        parts = ", ".join(f"{_unbroken(name)} {_unbroken(duration(each))}" for name, each in seconds.items())
        found.append(Tile("Training time", duration(sum(seconds.values())), parts if len(seconds) > 1 else ""))
    return found


def _gain(records: RunRecords) -> Tile | None:
    """Returns the gain of an evaluation; None without one, and where labels of a few images give the verdict."""
    if not records.evaluations or records.few_labels_first:
        return None
    measured = records.evaluations[0]
    if (baseline := measured.baseline) is None:
        return None
    points = points_between(measured.models[ADAPTED].accuracy, measured.models[baseline].accuracy)
    return Tile(f"Gain over {baseline}", signed(points), "percentage points")


def _unknown(records: RunRecords) -> Tile | None:
    """Returns how many target images the selected model predicts as unknown; None where the run expects none."""
    summary, selection = records.summary, records.selection
    counts = in_order(summary.unknown)
    model = selection.model if selection else records.own
    if model not in counts or "target" not in summary.counts:
        return None
    others = "".join(f"; {_unbroken(f'{name} {count:,}')}" for name, count in counts.items() if name != model)
    note = f"of {counted(summary.counts['target'], 'target image')}, by {_unbroken(model)}{others}"
    return Tile("Predicted as unknown", f"{counts[model]:,}", note)


def _labels_in_words(records: RunRecords) -> str:
    """Returns the use of the target's labels, in words."""
    counts = records.summary.counts
    if labelled := counts.get("target_labelled", 0) + counts.get("target_held_out", 0):
        return f"{labelled:,} of them with a label"
    return "labels only to evaluate, not to train" if records.evaluations or records.labelled else "without labels"


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}").replace("-", "\N{NON-BREAKING HYPHEN}")
