"""The model card of an exported folder: what the model is for, what it has seen, and how good it is known to be.

README.md in the form of Hugging Face's model cards: a head in YAML, which leaves out what is not known, such as a
licence, and sections in Markdown.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from dalib.core.words import as_one, counted, likelihood
from dalib.records.candidates import ADAPTED, ordered
from dalib.report.comparison import estimate_cell
from dalib.report.figures import clean, interval, percent, sentence, short
from dalib.report.verdict import verdict_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.records.folder import RunRecords

MOST_NAMED = 100
"""Classes that are named in the card."""

Row = tuple[str, str, str, str]


def model_card(records: RunRecords, model: str, classes: Sequence[str], *, library: str, usage: str) -> str:
    """Returns the text of README.md.

    Args:
        records: of the run that the model is of.
        model: its name in the run.
        classes: names, in the order of the outputs.
        library: that opens the folder, as Hugging Face names it.
        usage: how to predict with the folder, in Markdown.
    """
    records = _without_places(records)
    tags = ["image-classification", *(["timm"] if library == "timm" else []), "domain-adaptation", "dalib"]
    target = _named(records.summary.target)
    title = f"{'Adapted classifier' if model == ADAPTED else 'Classifier'} of {target} images"
    sections = (
        f"# {title}",
        f"{_intended(records, model, target)}\n\nClasses: {_listed(classes)}.",
        f"## Use\n\n{usage.strip()}",
        f"## Intended use\n\n{_INTENDED.format(target=target, others=_of_others(records, model, library))}",
        f"## Data\n\n{_data(records)}",
        f"## Does adaptation help?\n\n{_verdict(records)}",
        f"## Accuracy on the target\n\n{_accuracies(records)}",
        f"## Training\n\n{_training(records)}",
    )
    head = f"---\nlibrary_name: {library}\npipeline_tag: image-classification\ntags: [{', '.join(tags)}]\n---\n"
    return head + "\n\n".join(sections) + "\n"


def _without_places(records: RunRecords) -> RunRecords:
    """Returns the records with data sets by their names alone: where they lie is nobody else's business."""
    evaluations = tuple(replace(each, data=_last(each.data)) for each in records.evaluations)
    labelled, selection = records.labelled, records.selection
    if labelled:
        labelled = replace(labelled, labels=_last(labelled.labels))
    if selection and selection.measured:
        selection = replace(selection, measured=replace(selection.measured, data=_last(selection.measured.data)))
    summary = replace(records.summary, source=_last(records.summary.source), target=_last(records.summary.target))
    return replace(records, summary=summary, evaluations=evaluations, labelled=labelled, selection=selection)


def _last(where: str) -> str:
    return PurePath(where.replace("\\", "/")).name or where or "an unnamed set"


_INTENDED = """\
For images like those of {target}: the same kind of camera, place and subject, one of the classes above in each.
{others} Images of another kind have not been tried.
Measure on labelled images of your own before decisions depend on it."""


def _of_others(records: RunRecords, model: str, library: str) -> str:
    """Returns what the exported model does with an image of none of its classes."""
    counts = _plain(records.summary.unknown_in_words(model))
    if not counts:
        return "Every image gets one of these classes, also where it shows none of them."
    if library == "dalib":
        return f"An image that seems to show none of them is predicted as unknown, as config.json says. {counts}."
    return f"This folder gives every image one of them; in its run, dalib tells unknown images apart. {counts}."


def _intended(records: RunRecords, model: str, target: str) -> str:
    source, method = _named(records.summary.source), _plain(records.summary.method)
    what = f"An image classifier trained on labelled images of {source}"
    if model == "source-only":
        return f"{what}, and on nothing of {target}: the source-only model of its run."
    if model == "aligned":
        return (
            f"{what}, with the normalisation statistics of unlabelled images of {target}: the aligned model of its run."
        )
    labels = "with few labels" if records.summary.counts.get("target_labelled") else "without labels"
    return f"{what} and adapted to images of {target} {labels}, by the method {method}: the {model} model of its run."


def _listed(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - MOST_NAMED:,} more" if len(classes) > MOST_NAMED else ""
    return ", ".join(_plain(short(name)) for name in classes[:MOST_NAMED]) + more


def _data(records: RunRecords) -> str:
    counts = records.summary.counts
    labelled = counts.get("target_labelled", 0) + counts.get("target_held_out", 0)
    rows = [
        ("Source, to train on", counts.get("source"), "with labels"),
        ("Source, kept to validate", counts.get("source_validation"), "with labels"),
        ("Target", counts.get("target"), f"{labelled:,} of them with labels" if labelled else "without labels"),
    ]
    lines = [f"| {name} | {count:,} | {note} |" for name, count, note in rows if count is not None]
    return "\n".join(("| Images | Count | |", "| --- | ---: | --- |", *lines))


def _verdict(records: RunRecords) -> str:
    found, judgement = verdict_of(records, "RUN"), records.judgement
    probability = judgement.probability_of_help if judgement else None
    how = {"measured": "Measured with labels.", "estimated": "Estimated without target labels."}.get(found.kind, "")
    said = [sentence(_plain(found.headline)), how, *(_plain(note) for note in found.notes)]
    if probability is not None and not any("probability" in each for each in said):
        said.append(f"Before labels, the probability that adaptation helped was {likelihood(probability)}.")
    reasons = "".join(f"\n- {_plain(reason)}" for reason in found.reasons)
    return " ".join(filter(None, said)) + (f"\n{reasons}" if reasons else "")


def _accuracies(records: RunRecords) -> str:
    rows = _rows(records)
    if not rows:
        trained = records.summary.counts.get("target_labelled")
        without = "the labels of the target were all to train with" if trained else "no label of the target was given"
        return f"Not known: {without}, and nothing was estimated."
    lines = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join(("| Model | Accuracy | Interval | How it was found |", "| --- | ---: | --- | --- |", *lines))


def _rows(records: RunRecords) -> list[Row]:
    rows: list[Row] = []
    for evaluation in records.evaluations:
        how = f"measured on {counted(evaluation.count, 'labelled image')} of {_named(evaluation.data)}"
        for each in ordered(evaluation.models):
            found = evaluation.models[each.name]
            rows.append((each.name, percent(found.accuracy), f"{interval(found.interval)} (95%)", how))
    if labelled := records.labelled:
        how = f"estimated from the labels of {counted(labelled.count, 'target image')} ({labelled.design})"
        for each in ordered(labelled.models):
            cell = estimate_cell(labelled.models[each.name])
            rows.append((each.name, cell.value, f"{cell.note} (95%)" if cell.note else "", how))
    judged = records.judgement.models if records.judgement else {}
    for each in ordered(judged):
        estimate = judged[each.name].estimate
        if estimate is not None and estimate.value is not None:
            cell = estimate_cell(estimate)
            trust = f"; {cell.warning}: {estimate.reason}" if cell.warning else ""
            how = f"estimated without labels by {estimate.method or 'confidence'}{trust}"
            rows.append((each.name, cell.value, f"{cell.note} (90%)" if cell.note else "", _plain(how)))
    return rows


def _training(records: RunRecords) -> str:
    summary = records.summary
    versions = {"dalib": summary.dalib, "torch": summary.torch}
    found = {
        "Method": summary.method,
        "Backbone": as_one(summary.run_settings.backbones),
        "Steps": summary.run_settings.steps,
        "Trained": summary.started,
        "With": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
    }
    return "\n".join(f"- {name}: {_plain(str(value))}" for name, value in found.items() if value)


def _named(where: str) -> str:
    return _plain(short(where))


_SPECIAL = re.compile(r"([\\`*_\[\]<>|#&~])")


def _plain(text: str) -> str:
    """Returns the text with everything escaped that is Markdown or HTML."""
    return _SPECIAL.sub(r"\\\1", clean(text))
