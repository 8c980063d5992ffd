"""``dalib compare``: which of several runs on one target is best, without a target label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from safetensors import SafetensorError
from safetensors.torch import load_file

from dalib.console import one_line, output, say
from dalib.errors import UserError
from dalib.judge.scores import as_probabilities, ensemble_agreement
from dalib.judge.selection import ranked
from dalib.runfolder import RunFolder, read_json, read_texts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor


@dataclass(frozen=True)
class Judged:
    """A run, as far as it is compared.

    Attributes:
        model: the name of the model that predicts.
        target: (N, C) its probabilities of the target's images.
        scores: label-free, of that model.
        estimate: of its accuracy, in words.
        outcome: of its adaptation, by the run's own judgement.
    """

    path: str
    model: str
    target: Tensor
    scores: dict[str, float]
    estimate: str
    outcome: str

    @property
    def failed(self) -> bool:
        """Whether a model predicts that hurt or collapsed, as --keep adapted lets it."""
        return self.model == "adapted" and self.outcome in {"hurt", "collapsed"}


def compare_runs(runs: Sequence[RunFolder | str | Path]) -> list[str]:
    """Print runs on the same target from the best to the worst, as far as can be told; their paths in that order.

    Raises:
        UserError: fewer than two runs, a run without a judgement, or runs on different images or classes.
    """
    found = [RunFolder.of(run) for run in runs]
    paths = [str(run.root) for run in found]
    if len(set(paths)) < 2:
        raise UserError(f"compare: expected at least two different runs, got {len(set(paths))}")
    _require_same(found)
    judged = [_judged(run) for run in found]
    voters = [each for each in judged if not each.failed]
    agreements = dict.fromkeys(paths, 0.0)
    if len(voters) > 1:
        together = ensemble_agreement([each.target for each in voters]).tolist()
        agreements |= dict(zip([each.path for each in voters], together, strict=True))
    order = ranked(
        [each.scores for each in judged],
        [agreements[each.path] for each in judged],
        [each.failed for each in judged],
    )
    best = [judged[position] for position in order]
    _print(best, agreements)
    return [each.path for each in best]


def _judged(run: RunFolder) -> Judged:
    judgement: dict[str, Any] = read_json(run.judgement)
    try:
        name = judgement["shipped"]
        of_model = judgement["models"][name]
        target = load_file(run.predictions)[f"target/{name}"]
        as_probabilities(target, f"target/{name}")
        estimate = of_model.get("estimate") or {}
        words = "-" if estimate.get("value") is None else f"{estimate['value']:.1%}"
        if estimate and not estimate.get("reliable", True):
            words += " ?"
        scores = {str(key): float(value) for key, value in of_model["scores"].items()}
        if len(target) != len(names := read_texts(run.images, "target")):
            raise ValueError(f"predictions of {len(target)} images of {len(names)}")
        return Judged(str(run.root), name, target, scores, words, str(judgement["outcome"]))
    except (KeyError, TypeError, ValueError, AttributeError, OSError, SafetensorError) as error:
        raise UserError(
            f"RUN {run.root}: judgement.json and predictions.safetensors do not fit each other "
            f"({type(error).__name__}: {error}); train it again"
        ) from None


def _require_same(runs: Sequence[RunFolder]) -> None:
    first = runs[0]
    for run in runs:
        if not run.judgement.is_file():
            raise UserError(f"RUN {run.root}: no judgement.json; it is not finished, or of an older version")
    classes, names = read_texts(first.summary, "classes"), read_texts(first.images, "target")
    for run in runs[1:]:
        if read_texts(run.summary, "classes") != classes or read_texts(run.images, "target") != names:
            raise UserError(
                f"RUN {run.root}: another target, or other classes, than {first.root}; "
                "scores can only be compared on the same images"
            )


def _print(best: Sequence[Judged], agreements: dict[str, float]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "run", "predicts"):
        table.add_column(heading)
    for heading in ("clusters", "agreement", "estimate"):
        table.add_column(heading, justify="right")
    table.add_column("adaptation")
    for place, each in enumerate(best, 1):
        clusters = each.scores.get("target_class_ami", each.scores.get("target_corr_c"))
        table.add_row(
            str(place),
            escape(one_line(each.path)),
            escape(one_line(each.model)),
            "-" if clusters is None else f"{clusters:.3f}",
            f"{agreements[each.path]:.1%}" if agreements[each.path] else "-",
            escape(one_line(each.estimate)),
            escape(one_line(each.outcome)),
        )
    where = output()
    Console(file=cast("IO[str]", where), width=None if where.isatty() else 140, highlight=False).print(table)
    say(
        "No target label was used. Runs are in the order of clusters (ClassAMI: do predicted classes follow the\n"
        "clusters of the features? 1 is best), then of agreement with the mean of the runs (EnsV). A run whose\n"
        "adaptation hurt or collapsed, and that predicts by it all the same, comes last and has no vote.\n"
        "estimate: of the accuracy, ? where it is not to be trusted."
    )
