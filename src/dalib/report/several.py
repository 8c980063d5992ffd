"""The page that compares several targets of one source: what each run came to, with a link to its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from dalib.core.files import write_text
from dalib.core.words import likelihood
from dalib.records.candidates import CANDIDATES
from dalib.records.several import DONE, Measured, TargetModel
from dalib.report.comparison import Cell, estimate_cell
from dalib.report.figures import interval, percent
from dalib.report.page import environment
from dalib.report.verdict import verdict_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dalib.records.candidates import Candidate
    from dalib.records.several import SeveralFolder, SeveralTargets, TargetResult
    from dalib.report.verdict import Kind, Tone


@dataclass(frozen=True)
class ComparedCell:
    """The accuracy of one model on one target.

    Attributes:
        estimate: without labels.
        measured: in words; empty without labels.
    """

    estimate: Cell
    measured: str


@dataclass(frozen=True)
class ComparedTarget:
    """A line of the page.

    Attributes:
        tone, kind, headline: of the run's report.
        probability: that adaptation helped, in words; empty where it is not known.
        cells: of the models, in their order.
        link: to the run's report; empty where it has none.
    """

    result: TargetResult
    tone: Tone
    kind: Kind
    headline: str
    probability: str
    cells: tuple[ComparedCell, ...]
    link: str


def write_comparison(folder: SeveralFolder) -> Path:
    """Writes ``targets.json`` and ``report.html`` of several targets from their runs, and returns the page.

    Raises:
        UserError: a JSON file in a run is damaged.
    """
    record = folder.read()
    record.write(folder.record)
    models = _models(record)
    targets = [_compared(folder, result, models) for result in record.targets]
    page = (
        environment()
        .get_template("several.html")
        .render(
            name=folder.root.name or folder.root.resolve().name,
            source=record.source,
            headline=headline(record),
            tone=_tone(targets),
            models=models,
            targets=targets,
            measured=any(cell.measured for each in targets for cell in each.cells),
        )
    )
    write_text(folder.report, page)
    return folder.report


def headline(record: SeveralTargets) -> str:
    """Returns in one sentence on how many targets adaptation helped, as judged without labels."""
    done = [each for each in record.targets if each.status in DONE]
    words = {"helped": "helped", "unclear": "is unclear", "hurt": "hurt", "collapsed": "collapsed"}
    counts = [(word, sum(each.outcome == outcome for each in done)) for outcome, word in words.items()]
    said = [f"{word} on {count} of {len(record.targets)} targets" for word, count in counts if count]
    waiting = len(record.targets) - len(done)
    if not said:
        return f"{len(record.targets)} targets, none of them judged" if waiting else "Nothing was adapted"
    return f"Adaptation {', '.join(said)}" + (f"; {waiting} not finished" if waiting else "")


def _models(record: SeveralTargets) -> Sequence[Candidate]:
    names = {name for each in record.targets for name in each.models}
    return [each for each in CANDIDATES if each.name in names] or list(CANDIDATES)


def _tone(targets: Sequence[ComparedTarget]) -> Tone:
    """Returns the tone of all targets where they have one, else that of what is not clear."""
    tones = {each.tone for each in targets}
    return tones.pop() if len(tones) == 1 else "unclear"


def _compared(folder: SeveralFolder, result: TargetResult, models: Sequence[Candidate]) -> ComparedTarget:
    run = folder.run(result.name)
    tone: Tone = "unfinished"
    kind: Kind = "none"
    said, link = "Not trained yet", ""
    if run.summary.is_file():
        verdict = verdict_of(run.read_records(), str(run.root))
        tone, kind, said = verdict.tone, verdict.kind, verdict.headline
        link = f"{quote(result.name)}/report.html" if run.report.is_file() else ""
    probability = "" if result.probability is None else likelihood(result.probability)
    cells = tuple(_cell(result.models.get(model.name)) for model in models)
    return ComparedTarget(result, tone, kind, said, probability, cells, link)


def _cell(model: TargetModel | None) -> ComparedCell:
    if model is None:
        return ComparedCell(Cell(), "")
    return ComparedCell(estimate_cell(model.estimate), "" if model.measured is None else _in_words(model.measured))


def _in_words(measured: Measured) -> str:
    return f"{percent(measured.accuracy)} ({interval(measured.interval)})"
