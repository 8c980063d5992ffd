"""``report.html`` of a run: one self-contained page, made from nothing but the files in the run's folder."""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jinja2

from dalib.core.errors import UserError
from dalib.core.files import quoted, read_json, write_text
from dalib.report import figures, reliability, scatter
from dalib.report.comparison import MOST_CLASSES, ORDER, class_estimates, comparison, estimate_cell
from dalib.report.figures import (
    Chart,
    Picture,
    Series,
    clean,
    counted,
    duration,
    interval,
    likelihood,
    line_chart,
    number,
    percent,
    picture,
    points_between,
    sentence,
    shade,
    short,
    signed,
)
from dalib.report.parts import loss_parts
from dalib.report.reliability import Diagram, diagram
from dalib.report.scatter import Panel, panel
from dalib.report.verdict import probability_of, verdict_of

if TYPE_CHECKING:
    from pathlib import Path

    from dalib.records.folder import RunFolder
    from dalib.records.selection import Selection

MOST_MATRIX_CLASSES = 20  # more classes: the most confused pairs instead of a matrix
MOST_PAIRS = 10
MOST_BARS = 40
MOST_UNREADABLE = 20
MOST_SHOWN = 6  # images of a kind on which the models differ, before the others are folded in
PAIR = ("source-only", "adapted")  # the two that are compared class by class

Json = dict[str, Any]


@dataclass(frozen=True)
class Tile:
    """A number that matters, what it is, and a remark."""

    name: str
    value: str
    note: str = ""


def write_report(run: RunFolder) -> Path:
    """Write ``run.report``, whole or not at all, and return it.

    Only ``config.yaml`` and ``summary.json`` have to be there; a section without its files is left out. The same
    folder gives the same bytes.

    Raises:
        UserError: a JSON file in the folder is damaged, or says something else than such files do.
    """
    template = environment().get_template("template.html")
    try:
        page = template.render(_content(run))
    except UserError:
        raise
    except Exception as error:  # values of any kind may stand where a number, a text or a list is expected
        raise UserError(
            f"RUN {run.root}: one of its JSON files does not say what such a file says "
            f"({type(error).__name__}: {error}); it is damaged, or of another version"
        ) from error
    write_text(run.report, page)
    return run.report


def environment() -> jinja2.Environment:
    """What pages are made with: everything that is put into them is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(part),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        short=short, percent=percent, interval=interval, signed=signed, duration=duration, counted=counted
    )
    return made


def part(name: str) -> str:
    return importlib.resources.files("dalib.report").joinpath(name).read_text(encoding="utf-8")


def _content(run: RunFolder) -> Json:
    """All that the template needs."""
    summary = clean(read_json(run.summary))
    evaluations = [clean(read_json(path)) for path in sorted(run.evaluations.glob("*.json"))]
    evaluations.sort(key=lambda evaluation: str(evaluation.get("when", "")))  # the run's own comes first
    labelled: Json = clean(read_json(run.labelled)) if run.labelled.is_file() else {}
    judgement: Json = clean(read_json(run.judgement)) if run.judgement.is_file() else {}
    embedding: Json = clean(read_json(run.embedding)) if run.embedding.is_file() else {}
    selection = _selection_in(run)
    where, config = clean(quoted(run.root)), clean(quoted(run.config))
    samples = _sample_groups(run)
    classes = summary.get("classes", [])
    models = {name: summary["models"][name] for name in ORDER if name in summary.get("models", {})}
    unreadable = clean(read_json(run.unreadable)) if run.unreadable.is_file() else []
    return {
        "geometry": figures,
        "reliability": reliability,
        "scatter": scatter,
        "name": clean(run.root.name or run.root.resolve().name),
        "summary": summary,
        "verdict": verdict_of(summary, evaluations, labelled, judgement, where, selection, config),
        "differing": _differing(samples, summary),
        "most_shown": MOST_SHOWN,
        "tiles": _tiles(summary, evaluations, labelled, judgement, selection),
        "comparison": comparison(summary, evaluations, labelled, judgement, selection),
        "selection": _selection(summary, judgement),
        "charts": _charts(run, summary, judgement),
        "diagrams": _diagrams(evaluations, judgement),
        "mistakes": [_mistakes(evaluation) for evaluation in evaluations],
        "class_estimates": None if evaluations else class_estimates(classes, judgement),
        "most_classes": MOST_CLASSES,
        "panels": _panels(embedding, classes),
        "embedding_method": embedding.get("method", ""),
        "classes": classes,
        "histogram": _histogram(classes, models, judgement.get("prior") or {}),
        "views": _picture_of(run.views),
        "samples": _samples(samples),
        "unreadable": unreadable[:MOST_UNREADABLE],
        "unreadable_count": len(unreadable),
        "facts": _facts(summary, judgement),
        "command": f"dalib train --config {config} --out NEW-FOLDER",
        "config": "\n".join(
            clean(line) for line in run.config.read_text(encoding="utf-8", errors="replace").splitlines()
        ),
    }


def _selection_in(run: RunFolder) -> Selection | None:
    """Which model is selected; None where nothing tells yet, or where there is only one."""
    models = len(run.model_folders())
    if models == 1 or (models == 0 and not run.selected.is_file()):
        return None
    found = run.selection()
    if found.measured is None:
        return found
    return replace(found, measured=replace(found.measured, data=clean(found.measured.data)))  # as evaluations have it


def _tiles(
    summary: Json, evaluations: list[Json], labelled: Json, judgement: Json, selection: Selection | None
) -> list[Tile]:
    def by_these(name: str, labels: str, data: object) -> str:
        chosen = selection is not None and selection.model == name and selection.chosen_on(labels, data)
        return "selected by these labels" if chosen else ""

    tiles, probability = [], probability_of(judgement)
    if probability is not None:
        how = "estimated without labels" if not evaluations and not labelled else "as judged without labels"
        tiles.append(Tile("Probability that adaptation helped", likelihood(probability), how))
    if evaluations:
        measured, data = evaluations[0]["models"], evaluations[0].get("data")
        for name in reversed(PAIR):
            if measures := measured.get(name):
                remarks = filter(None, (interval(measures["interval"]), by_these(name, "evaluation", data)))
                tiles.append(Tile(f"{name.capitalize()} accuracy", percent(measures["accuracy"]), ", ".join(remarks)))
        if set(PAIR) <= measured.keys():
            points = points_between(measured["adapted"]["accuracy"], measured["source-only"]["accuracy"])
            tiles.append(Tile("Gain", signed(points), "percentage points"))
    else:
        judged, word = judgement.get("models") or {}, "estimate"
        estimates = {name: (judged.get(name) or {}).get("estimate") for name in reversed(PAIR)}
        if labelled:
            word, estimates = "accuracy", {name: labelled["models"].get(name) for name in reversed(PAIR)}
        for name, estimate in estimates.items():
            cell = estimate_cell(estimate)
            if cell.note:
                count = counted(labelled["count"], "label") if labelled else ""
                chosen = by_these(name, "labelled", labelled.get("labels"))
                notes = ", ".join(each for each in (cell.note, cell.warning, count, chosen) if each)
                tiles.append(Tile(f"{name.capitalize()} {word}", cell.value, notes))
        if summary.get("changed") is not None:
            tiles.append(Tile("Changed class", percent(summary["changed"]), "of the target images"))
    if "target" in summary.get("counts", {}):
        tiles.append(Tile("Target images", f"{summary['counts']['target']:,}", "without labels"))
    seconds = {name: summary["seconds"][name] for name in ORDER if name in summary.get("seconds", {})}
    if seconds:
        parts = ", ".join(_unbroken(f"{name} {duration(each)}") for name, each in seconds.items())
        tiles.append(Tile("Training time", duration(sum(seconds.values())), parts if len(seconds) > 1 else ""))
    return tiles


def _selection(summary: Json, judgement: Json) -> Json | None:
    """The step whose weights were kept, of how many, and why."""
    selection = judgement.get("selection") or {}
    step = number(selection.get("step", summary.get("kept_step")))
    if step is None:
        return None
    return {
        "step": step,
        "of": number(selection.get("of")),
        "score": str(selection.get("score") or ""),
        "reason": sentence(selection["reason"]) if selection.get("reason") else "",
    }


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}").replace("-", "\N{NON-BREAKING HYPHEN}")


def _charts(run: RunFolder, summary: Json, judgement: Json) -> list[Chart]:
    # above sixty lines because it is a list: a chart after another, with its words
    own: str = "source-only" if summary.get("method") == "source-only" else "adapted"
    metrics = {own: _metrics(run.metrics)}
    if own == "adapted":
        metrics = {"source-only": _metrics(run.source_only.metrics), **metrics}
    selection = _selection(summary, judgement)
    kept = selection["step"] if selection else None
    parts = []
    for key, look in loss_parts(metrics[own]).items():
        points = _curve(metrics[own], key)
        if any(value for _, value in points):  # a part that is switched off is zero throughout
            parts.append(Series(key.replace("_", " "), look, points))

    def scores(*keys_and_looks: tuple[str, str]) -> list[Series]:
        return [
            Series(_SCORE_NAMES.get(key, key.replace("_", " ")), look, _curve(metrics[own], f"target_{key}"))
            for key, look in keys_and_looks
        ]

    charts = (
        line_chart(f"Loss parts, {own}", "Weighted: they add up to the loss.", parts, shares=False, kept_step=kept),
        line_chart(
            "Teacher and student on the target",
            "Mask rate: share of target images on which the teacher is confident enough to count. "
            "Agreement: share on which both predict the same class.",
            [
                Series("mask rate", "two", _curve(metrics[own], "mask_rate")),
                Series("agreement", "one", _curve(metrics[own], "agreement")),
            ]
            if own == "adapted"
            else [],
            shares=True,
            whole_range=True,
            kept_step=kept,
        ),
        line_chart(
            "Source validation accuracy",
            "On source images kept from training; it says nothing about the target.",
            [Series(name, name, _curve(lines, "source_validation_accuracy")) for name, lines in metrics.items()],
            shares=True,
            kept_step=kept,
        ),
        line_chart(
            f"Label-free scores, {own}",
            "Of target images as they are, at each evaluation; 100% is the most there can be. A fall warns; "
            "a rise does not prove that answers are right.",
            scores(("mask_rate", "two"), ("agreement", "one"), ("nuclear_norm", "three"), ("corr_c", "four")),
            shares=True,
            whole_range=True,
            kept_step=kept,
        ),
        line_chart(
            f"Doubt and diversity, {own}",
            "In nats. Mean entropy: doubt, lower is better. Mutual information: certain and diverse, higher is better.",
            scores(("mean_entropy", "two"), ("mutual_information", "one")),
            shares=False,
            kept_step=kept,
        ),
        line_chart(
            f"Classes in use on the target, {own}",
            f"The effective number of predicted classes, of {len(summary.get('classes', []))}. A fall means that "
            "classes are lost.",
            scores(("classes", "one")),
            shares=False,
            kept_step=kept,
        ),
    )
    return [chart for chart in charts if chart is not None]


_SCORE_NAMES = {"corr_c": "class correlation", "classes": "effective classes"}


def _metrics(path: Path) -> list[Json]:
    """The lines that can be read; a line that is still being written cannot."""
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(values, dict) and number(values.get("step")) is not None:
            lines.append(values)
    return lines


def _curve(lines: list[Json], key: str) -> list[tuple[float, float]]:
    return [(line["step"], line[key]) for line in lines if number(line.get(key)) is not None]


def _diagrams(evaluations: list[Json], judgement: Json) -> list[Diagram]:
    judged = judgement.get("models") or {}
    found = [
        diagram(
            "Source validation",
            {name: judged[name]["calibration"] for name in ORDER if (judged.get(name) or {}).get("calibration")},
        )
    ]
    for evaluation in evaluations:
        models = evaluation["models"]
        calibrations = {
            name: models[name]["calibration"] for name in ORDER if (models.get(name) or {}).get("calibration")
        }
        found.append(diagram(short(evaluation["data"]), calibrations))
    return [each for each in found if each is not None]


def _panels(embedding: Json, classes: list[str]) -> list[Panel]:
    models = embedding.get("models") or {}
    method = str(embedding.get("method") or "an unnamed method")
    found = [panel(name, method, models[name], classes) for name in ORDER if name in models]
    return [each for each in found if each is not None]


def _mistakes(evaluation: Json) -> Json:
    """The classes of an evaluation: which are taken for which, and how each fares with and without adaptation."""
    classes, models = evaluation["classes"], evaluation["models"]
    few = len(classes) <= MOST_MATRIX_CLASSES
    return {
        "data": evaluation["data"],
        "count": evaluation["count"],
        "classes": classes,
        "long_names": any(len(name) > 2 for name in classes),
        "matrices": {
            name: _matrix(classes, models[name]["confusion"]) if few else []
            for name in reversed(ORDER)
            if name in models
        },
        "pairs": {
            name: [] if few else _pairs(classes, models[name]["confusion"])
            for name in reversed(ORDER)
            if name in models
        },
        "changes": _changes(classes, models),
        "most_changes": 0 if few else MOST_PAIRS,
    }


def _matrix(classes: list[str], confusion: list[list[int]]) -> list[Json]:
    return [
        {
            "name": name,
            "cells": [
                {"count": count, "shade": shade(count, sum(counts)), "right": row == column}
                for column, count in enumerate(counts)
            ],
        }
        for row, (name, counts) in enumerate(zip(classes, confusion, strict=True))
    ]


def _pairs(classes: list[str], confusion: list[list[int]]) -> list[Json]:
    """The most frequent mistakes."""
    pairs: list[Json] = [
        {"true": classes[row], "predicted": classes[column], "count": count, "share": count / sum(counts)}
        for row, counts in enumerate(confusion)
        for column, count in enumerate(counts)
        if row != column and count
    ]
    return sorted(pairs, key=lambda pair: -pair["count"])[:MOST_PAIRS]


def _changes(classes: list[str], models: Json) -> list[Json]:
    """Accuracy of each class without and with adaptation; where there are many, those that changed most."""
    if not set(PAIR) <= models.keys():
        return []
    changes = []
    for index, name in enumerate(classes):
        rows = [models[model]["confusion"][index] for model in PAIR]
        count = sum(rows[0])
        if count:
            before, after = (row[index] / count for row in rows)
            points = points_between(after, before)
            changes.append({"name": name, "count": count, "before": before, "after": after, "points": points})
    if len(classes) > MOST_MATRIX_CLASSES:
        changes = sorted(changes, key=lambda change: -abs(change["points"]))[:MOST_PAIRS]
    return changes


def _histogram(classes: list[str], models: Json, prior: Json) -> Json | None:
    """Predicted classes of the target's training images: bars for each class, and classes that nobody predicts.

    Beside them how many images a prior expects: the one that training used and the one estimated from the predictions.
    """
    counts = {name: model["target_histogram"] for name, model in models.items() if model.get("target_histogram")}
    if not counts or not classes:
        return None
    last = list(counts)[-1]
    total = sum(counts[last])
    kind = str(prior.get("kind") or "")
    priors = {
        name: [round(share * total) for share in shares]
        for key, name in (("shares", "prior used"), ("estimate", "prior estimated"))
        if len(shares := [number(share) or 0.0 for share in prior.get(key) or ()]) == len(classes)
    }
    looks = {**{name: name for name in counts}, "prior used": "prior", "prior estimated": "prior estimate"}
    shown = {**counts, **priors}
    most = max(max(each) for each in shown.values()) or 1
    bars: list[Json] = [
        {
            "name": name,
            "counts": [
                {
                    "name": each,
                    "look": looks[each],
                    "count": values[index],
                    "width": f"{100 * values[index] / most:.1f}",
                }
                for each, values in shown.items()
            ],
        }
        for index, name in enumerate(classes)
    ]
    vanished = [name for name, count in zip(classes, counts[last], strict=True) if not count]
    if len(bars) > MOST_BARS:
        bars = sorted(bars, key=lambda bar: -max(each["count"] for each in bar["counts"]))[:MOST_BARS]
    return {
        "legend": [
            {"name": f"{name} ({kind})" if name == "prior used" and kind else name, "look": looks[name]}
            for name in shown
        ],
        "priors": bool(priors),
        "bars": bars,
        "left_out": len(classes) - len(bars),
        "model": last,
        "vanished": vanished[:MOST_PAIRS],
        "vanished_count": len(vanished),
    }


def _sample_groups(run: RunFolder) -> dict[str, list[Json]]:
    """The sample images by their group; runs of before there were groups have one."""
    listed = run.samples / "samples.json"
    groups: dict[str, list[Json]] = {}
    for sample in clean(read_json(listed)) if listed.is_file() else []:
        file = str(sample.get("file", ""))
        # only a file of the folder itself, whatever the list says
        image = _picture_of(run.samples / file) if file and "/" not in file and "\\" not in file else None
        predictions = sample.get("predictions", {})
        models = [(name, predictions[name]) for name in ORDER if name in predictions]
        classes = {prediction["class"] for _, prediction in models}
        if image is not None:
            group = str(sample.get("group", ""))
            groups.setdefault(group if group in ("differ", *_GROUPS) else "", []).append(
                {
                    "image": image,
                    "name": sample.get("name", file),
                    "differ": len(classes) > 1,
                    "models": models,
                    "surer": str(sample.get("surer", "")),
                }
            )
    return groups


def _differing(groups: dict[str, list[Json]], summary: Json) -> Json | None:
    """Images on which the models differ: how many there are, and some by the model that is surer; None without any."""
    found = groups.get("differ", [])
    kinds = [
        {"title": title, "samples": chosen}
        for surer, title in _KINDS.items()
        if (chosen := [each for each in found if (each["surer"] if each["surer"] in PAIR else "") == surer])
    ]
    if not kinds:
        return None
    changed, target = number(summary.get("changed")), number((summary.get("counts") or {}).get("target"))
    count = ""
    if changed is not None and target is not None:
        count = f"{round(changed * target):,} of {target:,.0f} target images ({percent(changed)})"
    return {
        "kinds": kinds,
        "surest": any(each["surer"] in PAIR for each in found),
        "count": count,
    }


_KINDS = {
    "adapted": "The adapted model is the surer one",
    "source-only": "The source-only model is the surer one",
    "": "The models differ",  # of runs of before they were told apart
}


def _samples(groups: dict[str, list[Json]]) -> list[Json]:
    """The other groups, each {"title", "note", "samples", "model"}."""
    return [
        {
            "title": title,
            "note": note,
            "samples": groups[group],
            # the one whose confidence chose them: adapted, where there is one
            "model": ([name for name, _ in groups[group][0]["models"]] or [""])[-1]
            if group in ("least", "most")
            else "",
        }
        for group, (title, note) in _GROUPS.items()
        if group in groups
    ]


_GROUPS = {
    "least": ("Least confident", "Where to look first for what the model cannot do, or for images that do not belong."),
    "most": ("Most confident", "If one of these is wrong, confidence means little on this target."),
    "": ("Some images", "The choice favours images on which the models differ: their share says nothing."),
}


def _picture_of(path: Path) -> Picture | None:
    return picture(path.read_bytes()) if path.is_file() else None


def _facts(summary: Json, judgement: Json) -> list[tuple[str, str]]:
    counts, seconds = summary.get("counts", {}), summary.get("seconds", {})
    versions = ", ".join(f"{name} {summary[key]}" for key, name in _VERSIONS.items() if key in summary)
    selection, stopped = _selection(summary, judgement), summary.get("stopped") or {}
    kept = ""
    if selection:
        of = f" of {selection['of']:,.0f}" if selection["of"] is not None else ""
        kept = f"step {selection['step']:,.0f}{of}"
    facts = [
        ("Source", summary.get("source", "")),
        ("Target", summary.get("target", "")),
        *((f"{where.capitalize()} fingerprint", str(each)) for where, each in _fingerprints(summary)),
        ("Method", summary.get("method", "")),
        ("Classes", f"{len(summary['classes']):,}" if "classes" in summary else ""),
        ("Class prior", str((judgement.get("prior") or {}).get("kind") or "")),
        *((label, f"{counts[key]:,}") for key, label in _COUNTS.items() if key in counts),
        ("Kept weights", kept),
        ("Stopped", str(stopped.get("reason") or "")),
        ("Device", summary.get("device", "")),
        ("Versions", versions),
        ("Started", summary.get("started", "")),
        ("Status", summary.get("status", "")),
        *((label, duration(seconds[key])) for key, label in _SECONDS.items() if key in seconds),
    ]
    return [(label, value) for label, value in facts if value]


def _fingerprints(summary: Json) -> list[tuple[str, Any]]:
    fingerprints = summary.get("fingerprints") or {}
    return [(where, fingerprints[where]) for where in ("source", "target") if fingerprints.get(where)]


_VERSIONS = {"dalib": "dalib", "torch": "torch", "python": "Python"}
_COUNTS = {
    "source": "Source images",
    "source_validation": "Source validation images",
    "target": "Target images",
    "unreadable": "Unreadable files",
}
_SECONDS = {
    "data": "Reading the data",
    "features": "Computing features",
    "source-only": "Training source-only",
    "adapted": "Training adapted",
}
