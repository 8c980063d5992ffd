"""``report.html`` of a run: one self-contained page, made from nothing but the files in the run's folder."""

from __future__ import annotations

import importlib.resources
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup, escape

from dalib.core.errors import UserError
from dalib.core.files import name_of_folder, quoted, write_text
from dalib.core.words import counted
from dalib.records.candidates import in_order
from dalib.report import figures, reliability, scatter
from dalib.report.accuracy import TICKS, accuracy_bars
from dalib.report.charts import kept_step, metrics_of, training_charts
from dalib.report.comparison import class_estimates, comparison
from dalib.report.facts import facts
from dalib.report.figures import clean, duration, interval, percent, sentence, short, signed
from dalib.report.hints import hints_table
from dalib.report.histogram import histogram
from dalib.report.mistakes import mistakes
from dalib.report.reliability import Diagram, diagram
from dalib.report.samples import (
    GROUPS,
    class_samples,
    differing,
    is_plain,
    other_samples,
    picture_of,
    sample_groups,
    wrong_samples,
)
from dalib.report.scatter import Panel, panel
from dalib.report.tiles import tiles
from dalib.report.verdict import verdict_of

if TYPE_CHECKING:
    from pathlib import Path

    from dalib.records.evaluation import Evaluation
    from dalib.records.folder import RunFolder, RunRecords
    from dalib.report.samples import SampleGroup

MOST_UNREADABLE = 20


def write_report(run: RunFolder) -> Path:
    """Writes ``run.report``, whole or not at all, and returns it.

    Only ``config.yaml`` and ``summary.json`` have to be there; a section without its files is left out. The same
    folder gives the same bytes.

    Raises:
        UserError: a JSON file in the folder is damaged, or has other values than such files have.
    """
    records = run.read_records()
    try:
        page = environment().get_template("template.html").render(_content(run, records))
    except Exception as error:  # files that are each whole need not fit each other
        raise UserError(
            f"RUN {run.root}: its JSON files do not fit each other ({type(error).__name__}: {error}); one of them is "
            "damaged, or of another version"
        ) from error
    write_text(run.report, page)
    return run.report


@cache
def environment() -> jinja2.Environment:
    """Returns the environment of the templates, which cleans and escapes every value.

    It holds compiled templates and nothing of a page, so one is enough for a process.
    """
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(part),
        autoescape=True,
        finalize=_cleaned,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        short=short,
        breakable=_breakable,
        unbroken=_unbroken,
        percent=percent,
        interval=interval,
        signed=signed,
        duration=duration,
        counted=counted,
        lines=_lines,
    )
    return made


def _cleaned(value: Any) -> Any:
    """Returns a value as it stands in a page; HTML was made of such values already."""
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _breakable(name: str) -> Markup:
    """Returns a name that breaks behind its underscores and strokes, if it has to, rather than within a word."""
    return Markup("<wbr>").join(escape(part) for part in re.split(r"(?<=[_/])(?=.)", clean(name)))


def _unbroken(text: str) -> Markup:
    """Returns a text whose flags, *source-only* and p values are not broken at the end of a line."""
    if isinstance(text, Markup):
        return text
    parts = re.split(r"(?<![\w-])(--[a-z_.]+|source-only|p [<=] [\d.]+)\b", clean(text))
    whole = Markup('<span class="whole">{}</span>')
    return Markup("").join(whole.format(each) if place % 2 else escape(each) for place, each in enumerate(parts))


def _lines(text: str) -> Markup:
    """Returns a text of several lines with its line breaks kept."""
    return Markup("\n").join(_unbroken(line) for line in text.splitlines())


def part(name: str) -> str:
    """Reads a file that lies beside this one."""
    return importlib.resources.files("dalib.report").joinpath(name).read_text(encoding="utf-8")


def _content(run: RunFolder, records: RunRecords) -> dict[str, Any]:
    """Returns the variables of the template."""
    samples = sample_groups(run.samples, records.samples, GROUPS)
    classes, kept = records.summary.classes, kept_step(records)
    sheet = records.embedding.sheet
    return {
        "geometry": figures,
        "reliability": reliability,
        "scatter": scatter,
        "name": name_of_folder(run.root),
        "verdict": verdict_of(records, str(run.root), str(run.config)),
        "bars": accuracy_bars(records),
        "bar_ticks": TICKS,
        "differing": differing(samples, records.summary),
        "tiles": tiles(records),
        "comparison": comparison(records),
        "selection": kept,
        "selection_reason": sentence(kept.reason) if kept and kept.reason else "",
        "charts": training_charts(metrics_of(run, records), records),
        "diagrams": _diagrams(records),
        "mistakes": [(mistakes(each), _gallery(run, each)) for each in records.evaluations],
        "class_estimates": None if records.evaluations else class_estimates(classes, records.judgement),
        "sheet": picture_of(run.embedding.with_name(sheet.file)) if sheet and is_plain(sheet.file) else None,
        "tile": sheet.size if sheet else 0,
        "panels": _panels(records),
        "embedding_method": records.embedding.method,
        "classes": classes,
        "histogram": histogram(records),
        "hints": hints_table(records.hints),
        "views": picture_of(run.views),
        "samples": other_samples(samples),
        "class_samples": class_samples(samples, classes),
        "unreadable": records.unreadable[:MOST_UNREADABLE],
        "unreadable_count": len(records.unreadable),
        "facts": facts(records),
        "command": f"dalib train --config {quoted(run.config)} --out NEW-FOLDER",
        "config": run.config.read_text(encoding="utf-8", errors="replace"),
    }


def _gallery(run: RunFolder, evaluation: Evaluation) -> list[SampleGroup]:
    folder = evaluation.pictures or ""
    return wrong_samples(run.mistakes / folder, evaluation.mistakes or ()) if is_plain(folder) else []


def _diagrams(records: RunRecords) -> list[Diagram]:
    judged = in_order(records.judgement.models) if records.judgement else {}
    sets = [("Source validation", {name: each.calibration for name, each in judged.items()})]
    for evaluation in records.evaluations:
        models = in_order(evaluation.models)
        sets.append((short(evaluation.data), {name: each.calibration for name, each in models.items()}))
    found = [diagram(title, {name: each for name, each in of.items() if each}) for title, of in sets]
    return [each for each in found if each is not None]


def _panels(records: RunRecords) -> list[Panel]:
    method, classes = records.embedding.method or "an unnamed method", records.summary.classes
    sheet = records.embedding.sheet
    found = [panel(name, method, each, classes, sheet) for name, each in in_order(records.embedding.models).items()]
    return [each for each in found if each is not None]
