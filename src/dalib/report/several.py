"""The page that compares several targets of one source: what each run came to, with a link to its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from dalib.core.files import name_of_folder, write_text
from dalib.core.words import counted, likelihood
from dalib.records.candidates import CANDIDATES
from dalib.report.comparison import Cell, estimate_cell
from dalib.report.figures import interval, percent
from dalib.report.page import environment
from dalib.report.verdict import verdict_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dalib.records.candidates import Candidate
    from dalib.records.several import SeveralFolder, SeveralTargets, TargetModel, TargetResult
    from dalib.report.next_steps import Tone
    from dalib.report.verdict import Kind


@dataclass(frozen=True)
class ComparedTarget:
    """A line of the page.

    Attributes:
        tone, kind, headline: of the run's report.
        probability: that adaptation helped, in words; empty where it is not known.
        cells: accuracies of the models, in their order.
        link: to the run's report; empty where it has none.
    """

    result: TargetResult
    tone: Tone
    kind: Kind
    headline: str
    probability: str
    cells: tuple[Cell, ...]
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
    tones = [each.tone for each in targets]
    page = (
        environment()
        .get_template("several.html")
        .render(
            name=name_of_folder(folder.root),
            source=record.source,
            headline=headline(tones),
            tone=_tone(tones),
            kind=_kinds(targets),
            models=models,
            targets=targets,
            measured=any(each.kind == "measured" for each in targets),
        )
    )
    write_text(folder.report, page)
    return folder.report


def headline(tones: Sequence[Tone]) -> str:
    """Returns in one sentence on how many targets adaptation helped: measured where there are labels, else estimated.

    >>> headline(["helped", "hurt", "helped"]), headline(["helped", "unfinished"])
    ('Adaptation helped on 2 and hurt on 1 of 3 targets', 'Adaptation helped on 1 of 2 targets; 1 not finished')
    """
    said = [f"{tone} on {count}" for tone in ("helped", "hurt") if (count := tones.count(tone))]
    unclear, unfinished, of_all = tones.count("unclear"), tones.count("unfinished"), counted(len(tones), "target")
    waiting = f"; {unfinished} not finished" if unfinished else ""
    # not "made no clear difference", which only a measurement could show
    if said:
        undecided = f"; can't tell on {unclear}" if unclear else ""
        return f"Adaptation {' and '.join(said)} of {of_all}{undecided}{waiting}"
    if unclear:
        return f"Can't tell whether adaptation helped on {unclear} of {of_all}{waiting}"
    are = "is" if unfinished == 1 else "are"
    return f"{of_all}, of which {unfinished} {are} not finished" if unfinished else f"{of_all} without a verdict"


def _models(record: SeveralTargets) -> Sequence[Candidate]:
    names = {name for each in record.targets for name in each.models}
    return [each for each in CANDIDATES if each.name in names] or list(CANDIDATES)


def _tone(tones: Sequence[Tone]) -> Tone:
    """Returns the tone of all targets where they have one, else that of what is not clear."""
    if "unfinished" in tones:
        return "unknown"
    return tones[0] if len({*tones}) == 1 else "unclear"


def _kinds(targets: Sequence[ComparedTarget]) -> str:
    kinds = {each.kind for each in targets} - {"none"}
    return "measured or estimated" if len(kinds) > 1 else "".join(kinds)


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


def _cell(model: TargetModel | None) -> Cell:
    """Returns the accuracy of a model: measured where there are labels, with the estimate below it, else estimated."""
    if model is None:
        return Cell()
    estimate, measured = estimate_cell(model.estimate), model.measured
    if measured is None:
        return estimate
    below = f"measured; estimated {estimate.value}" if estimate.value != Cell().value else "measured"
    return Cell(percent(measured.accuracy), f"{interval(measured.interval)}\n{below}")
