"""``report.html`` of a run: one self-contained page, made from nothing but the files in the run's folder."""

from __future__ import annotations

import importlib.resources
import json
import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import jinja2

from dalib.report import figures
from dalib.report.figures import (
    Chart,
    Picture,
    Series,
    clean,
    counted,
    duration,
    interval,
    line_chart,
    percent,
    picture,
    points_between,
    shade,
    short,
    signed,
)
from dalib.runfolder import RunFolder, read_json, write_text

if TYPE_CHECKING:
    from pathlib import Path

MOST_MATRIX_CLASSES = 20  # more classes: the most confused pairs instead of a matrix
MOST_PAIRS = 10
MOST_BARS = 40
MOST_UNREADABLE = 20
ORDER = ("source-only", "adapted")  # of models, wherever one stands beside the other

Json = dict[str, Any]
Tone = Literal["helped", "hurt", "unclear", "unknown", "unfinished"]


@dataclass(frozen=True)
class Verdict:
    """A headline, the sentences under it, and the command that would tell more, if one would."""

    tone: Tone
    headline: str
    notes: tuple[str, ...] = ()
    command: str = ""


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
        UserError: a JSON file in the folder is damaged.
    """
    source = importlib.resources.files("dalib.report").joinpath("template.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        short=short, percent=percent, interval=interval, signed=signed, duration=duration, counted=counted
    )
    write_text(run.report, environment.from_string(source).render(_content(run)))
    return run.report


def verdict_of(summary: Json, evaluations: list[Json], run: str) -> Verdict:
    """Did adaptation help? In plain words.

    Args:
        summary: summary.json.
        evaluations: the labelled measurements; the first gives the headline, the others a note each.
        run: the run's folder as it is written on a command line.
    """
    measured = [judged(evaluation) for evaluation in evaluations]
    status = summary.get("status", "running")
    if status != "done":
        headline, *notes = _unfinished(status, run)
        return Verdict("unfinished", headline, (*notes, *(verdict.headline + "." for verdict in measured)))
    if not measured:
        return _without_labels(summary, run)
    first, *others = measured
    return Verdict(first.tone, first.headline, (*first.notes, *(verdict.headline + "." for verdict in others)))


def judged(evaluation: Json) -> Verdict:
    """What one evaluation says.

    Helped or hurt only where the confidence intervals of the two accuracies do not overlap. Both models are measured on
    the same images, so their errors go together and the rule errs on the side of "no clear difference".
    """
    models = evaluation["models"]
    where = f"on {short(evaluation['data'])} ({counted(evaluation['count'], 'image')})"
    if not {"adapted", "source-only"} <= models.keys():
        name, measures = next(iter(models.items()))
        note = (
            "No source-only model was trained, so nobody can say whether adaptation helped."
            if name == "adapted"
            else "This model was trained without adaptation, so there is nothing to compare it with."
        )
        return Verdict("unknown", f"The {name} model reaches {percent(measures['accuracy'])} {where}", (note,))

    adapted, source_only = models["adapted"], models["source-only"]
    if adapted["interval"][0] > source_only["interval"][1]:
        tone: Tone = "helped"
    elif adapted["interval"][1] < source_only["interval"][0]:
        tone = "hurt"
    else:
        tone = "unclear"
    points = points_between(adapted["accuracy"], source_only["accuracy"])
    gain = (
        f"{abs(points):.1f} points {'more' if points > 0 else 'less'}" if points else "the same to a tenth of a point"
    )
    overlap = "overlap, so the difference may be chance" if tone == "unclear" else "do not overlap"
    return Verdict(
        tone,
        f"Adaptation {_WORDS[tone]}: {percent(adapted['accuracy'])} against {percent(source_only['accuracy'])} "
        f"source-only {where}",
        (
            f"That is {gain}. The confidence intervals, {interval(adapted['interval'])} adapted and "
            f"{interval(source_only['interval'])} source-only, {overlap}. "
            "A difference is called clear where they do not overlap, which is a cautious rule.",
        ),
    )


_WORDS = {"helped": "helped", "hurt": "hurt", "unclear": "made no clear difference"}


def _unfinished(status: str, run: str) -> tuple[str, ...]:
    if status == "diverged":
        return (
            "Training diverged: there is no result to trust",
            "A loss became NaN or infinite. Lower the learning rate (--optimizer.lr), or look for images without "
            "content, and train again.",
        )
    if status == "running":
        return (
            "Training is not finished: this is what is there so far",
            f"If it was stopped, dalib train --resume {run} goes on from its last checkpoint.",
        )
    return (f"Training is not finished: its status is “{short(str(status))}”",)


def _without_labels(summary: Json, run: str) -> Verdict:
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
        (*notes, "To find out, measure on labelled target images, a folder with a folder for each class:"),
        f"dalib eval {run} --data FOLDER",
    )


def _content(run: RunFolder) -> Json:
    """All that the template needs."""
    summary = clean(read_json(run.summary))
    evaluations = [clean(read_json(path)) for path in sorted(run.evaluations.glob("*.json"))]
    evaluations.sort(key=lambda evaluation: str(evaluation.get("when", "")))  # the run's own comes first
    where = clean(shlex.quote(str(run.root)))
    models = {name: summary["models"][name] for name in ORDER if name in summary.get("models", {})}
    unreadable = clean(read_json(run.unreadable)) if run.unreadable.is_file() else []
    return {
        "geometry": figures,
        "name": clean(run.root.name or run.root.resolve().name),
        "summary": summary,
        "verdict": verdict_of(summary, evaluations, where),
        "tiles": _tiles(summary, evaluations),
        "models": models,
        "evaluations": evaluations,
        "charts": _charts(run, summary),
        "judgements": [_judgement(evaluation) for evaluation in evaluations],
        "histogram": _histogram(summary.get("classes", []), models),
        "views": _picture_of(run.views),
        "samples": _samples(run),
        "unreadable": unreadable[:MOST_UNREADABLE],
        "unreadable_count": len(unreadable),
        "facts": _facts(summary),
        "command": f"dalib train --config {clean(shlex.quote(str(run.config)))} --out NEW-FOLDER",
        "config": "\n".join(
            clean(line) for line in run.config.read_text(encoding="utf-8", errors="replace").splitlines()
        ),
    }


def _tiles(summary: Json, evaluations: list[Json]) -> list[Tile]:
    tiles = []
    if evaluations:
        measured = evaluations[0]["models"]
        tiles = [
            Tile(f"{name.capitalize()} accuracy", percent(measures["accuracy"]), interval(measures["interval"]))
            for name in reversed(ORDER)
            if (measures := measured.get(name))
        ]
        if len(tiles) == 2:
            points = points_between(measured["adapted"]["accuracy"], measured["source-only"]["accuracy"])
            tiles.append(Tile("Gain", signed(points), "percentage points"))
    elif summary.get("changed") is not None:
        tiles = [Tile("Changed class", percent(summary["changed"]), "of the target images")]
    if "target" in summary.get("counts", {}):
        tiles.append(Tile("Target images", f"{summary['counts']['target']:,}", "without labels"))
    seconds = {name: summary["seconds"][name] for name in ORDER if name in summary.get("seconds", {})}
    if seconds:
        parts = ", ".join(_unbroken(f"{name} {duration(each)}") for name, each in seconds.items())
        tiles.append(Tile("Training time", duration(sum(seconds.values())), parts if len(seconds) > 1 else ""))
    return tiles


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}").replace("-", "\N{NON-BREAKING HYPHEN}")


def _charts(run: RunFolder, summary: Json) -> list[Chart]:
    own: str = "source-only" if summary.get("method") == "source-only" else "adapted"
    metrics = {own: _metrics(run.metrics)}
    if own == "adapted":
        metrics = {"source-only": _metrics(run.source_only.metrics), **metrics}
    parts = []
    for key, look in (
        ("supervised", "one"),
        ("consistency", "two"),
        ("class_balance", "three"),
        ("information", "four"),
    ):
        points = _curve(metrics[own], key)
        if any(value for _, value in points):  # a part that is switched off is zero throughout
            parts.append(Series(key.replace("_", " "), look, points))
    charts = (
        line_chart(f"Loss parts, {own}", "Weighted: they add up to the loss.", parts, shares=False),
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
        ),
        line_chart(
            "Source validation accuracy",
            "On source images kept from training; it says nothing about the target.",
            [Series(name, name, _curve(lines, "source_validation_accuracy")) for name, lines in metrics.items()],
            shares=True,
        ),
    )
    return [chart for chart in charts if chart is not None]


def _metrics(path: Path) -> list[Json]:
    """The lines that can be read; a line that is still being written cannot."""
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(values, dict) and _is_number(values.get("step")):
            lines.append(values)
    return lines


def _curve(lines: list[Json], key: str) -> list[tuple[float, float]]:
    return [(line["step"], line[key]) for line in lines if _is_number(line.get(key))]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _judgement(evaluation: Json) -> Json:
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
    if not {"adapted", "source-only"} <= models.keys():
        return []
    changes = []
    for index, name in enumerate(classes):
        rows = [models[model]["confusion"][index] for model in ORDER]
        count = sum(rows[0])
        if count:
            before, after = (row[index] / count for row in rows)
            points = points_between(after, before)
            changes.append({"name": name, "count": count, "before": before, "after": after, "points": points})
    if len(classes) > MOST_MATRIX_CLASSES:
        changes = sorted(changes, key=lambda change: -abs(change["points"]))[:MOST_PAIRS]
    return changes


def _histogram(classes: list[str], models: Json) -> Json | None:
    """Predicted classes of the target's training images: bars for each class, and classes that nobody predicts."""
    counts = {name: model["target_histogram"] for name, model in models.items() if model.get("target_histogram")}
    if not counts or not classes:
        return None
    most = max(max(each) for each in counts.values()) or 1
    bars: list[Json] = [
        {
            "name": name,
            "counts": [
                {"model": model, "count": each[index], "width": f"{100 * each[index] / most:.1f}"}
                for model, each in counts.items()
            ],
        }
        for index, name in enumerate(classes)
    ]
    last = list(counts)[-1]
    vanished = [name for name, count in zip(classes, counts[last], strict=True) if not count]
    if len(bars) > MOST_BARS:
        bars = sorted(bars, key=lambda bar: -max(each["count"] for each in bar["counts"]))[:MOST_BARS]
    return {
        "models": list(counts),
        "bars": bars,
        "left_out": len(classes) - len(bars),
        "model": last,
        "vanished": vanished[:MOST_PAIRS],
        "vanished_count": len(vanished),
    }


def _samples(run: RunFolder) -> list[Json]:
    listed = run.samples / "samples.json"
    samples = []
    for sample in clean(read_json(listed)) if listed.is_file() else []:
        file = str(sample.get("file", ""))
        # only a file of the folder itself, whatever the list says
        image = _picture_of(run.samples / file) if file and "/" not in file and "\\" not in file else None
        predictions = sample.get("predictions", {})
        models = [(name, predictions[name]) for name in ORDER if name in predictions]
        classes = {prediction["class"] for _, prediction in models}
        if image is not None:
            name = sample.get("name", file)
            samples.append({"image": image, "name": name, "differ": len(classes) > 1, "models": models})
    return samples


def _picture_of(path: Path) -> Picture | None:
    return picture(path.read_bytes()) if path.is_file() else None


def _facts(summary: Json) -> list[tuple[str, str]]:
    counts, seconds = summary.get("counts", {}), summary.get("seconds", {})
    versions = ", ".join(f"{name} {summary[key]}" for key, name in _VERSIONS.items() if key in summary)
    facts = [
        ("Source", summary.get("source", "")),
        ("Target", summary.get("target", "")),
        ("Method", summary.get("method", "")),
        ("Classes", f"{len(summary['classes']):,}" if "classes" in summary else ""),
        *((label, f"{counts[key]:,}") for key, label in _COUNTS.items() if key in counts),
        ("Device", summary.get("device", "")),
        ("Versions", versions),
        ("Started", summary.get("started", "")),
        ("Status", summary.get("status", "")),
        *((label, duration(seconds[key])) for key, label in _SECONDS.items() if key in seconds),
    ]
    return [(label, value) for label, value in facts if value]


_VERSIONS = {"dalib": "dalib", "torch": "torch", "python": "Python"}
_COUNTS = {
    "source": "Source images",
    "source_validation": "Source validation images",
    "target": "Target images",
    "unreadable": "Unreadable files",
}
_SECONDS = {
    "data": "Reading the data",
    "source-only": "Training source-only",
    "adapted": "Training adapted",
}
