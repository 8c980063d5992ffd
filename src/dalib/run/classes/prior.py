"""Class priors of the target: given, uniform, the source's, or estimated during training."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dalib.core.errors import Call, Setting, UserError
from dalib.data.spelling import Classes
from dalib.data.tables import delimiter_of, fields_of, text_of
from dalib.judge.evidence import quick_scores
from dalib.judge.prior import cautious_shares
from dalib.records.folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dalib.core.types import Method
    from dalib.judge.evidence import Confidence, Evidence

KINDS = ("uniform", "source", "halfway", "estimate")


def file_of(prior: str | Path) -> Path:
    """Returns the file of shares that a prior names: itself, or that in the folder of a run."""
    path = Path(prior)
    return RunFolder(path).shares if path.is_dir() else path


def first_prior(kind: str, labels: Tensor, classes: Sequence[str]) -> Tensor | None:
    """Returns the shares (C,) float64 at the start of the adaptation; None is uniform, as before an estimate.

    Args:
        kind: uniform, source, halfway, estimate, a file (:func:`read_prior`), or the folder of a run with one.
        labels: (N,) int64, the source's.

    Raises:
        UserError: a file that is not there or does not fit the classes.

    Source of halfway, the geometric mean of the source's and uniform shares: ours. Where a source has few images of a
    class, so mostly has the target, and uniform shares call others of its images that class; where they do not, half of
    the way does little harm (benchmarks/RESULTS.md).

    >>> first_prior("halfway", torch.tensor([0, 0, 0, 0, 1]), ["cat", "dog"])
    tensor([0.6667, 0.3333], dtype=torch.float64)
    """
    if kind in ("uniform", "estimate"):
        return None
    if kind in ("source", "halfway"):
        # a kit leaves small classes out of its statistics; a share of 0 would forbid them
        counts = torch.bincount(labels, minlength=len(classes)).double().clamp_min(1)
        shares = counts / counts.sum()
        return shares if kind == "source" else shares.sqrt() / shares.sqrt().sum()
    return read_prior(Path(kind), classes)


def estimated(evidence: Evidence) -> Tensor:
    """Estimates the shares (C,) float64 from a model's predictions, with caution."""
    return cautious_shares(evidence.validation, evidence.labels, evidence.target)


def halfway_shares(evidence: Evidence) -> Tensor:
    """Returns the shares (C,) float64 halfway between uniform ones and :func:`estimated` ones."""
    shares = estimated(evidence)
    return (shares + 1 / len(shares)) / 2


def later_prior(evidence: Evidence, step: int, steps: int) -> Tensor | None:
    """Returns the shares (C,) float64 that an adaptation with the prior ``estimate`` expects after an evaluation.

    They are halfway between uniform ones and those of the model that is being adapted; None in the first half of the
    steps.

    Source: ours. A model that is not adapted yet errs in the target as it never does in the source, so that its
    estimate is far off, and a training with such a prior early on makes it true. benchmarks/LOG.md has what was tried.
    """
    if 2 * step < steps:
        return None
    return halfway_shares(evidence)


def expected_shares(method: Method) -> Tensor | None:
    """Returns the shares (C,) that the method draws predictions to now, on the CPU; None if it expects none."""
    return None if method.class_prior is None else method.class_prior.prior.cpu()


def scores_and_prior(
    method: Method,
    evidence: Evidence,
    step: int,
    *,
    confidence: Confidence,
    estimate_over: int | None,
    among: Callable[[Evidence], Evidence] = lambda evidence: evidence,
) -> tuple[dict[str, float], Tensor | None]:
    """Returns the scores of an evaluation, and the shares (C,) to expect from then on; None where these stay.

    Args:
        method: method that is trained; its class prior takes the shares.
        evidence: predictions of its predictor.
        step: number of steps done.
        confidence: when a target image counts as confident.
        estimate_over: steps of a training whose shares are estimated; None where they are not.
        among: returns the part of the evidence to score.
    """
    prior = None
    if estimate_over is not None and method.class_prior is not None:
        prior = later_prior(evidence, step, estimate_over)
    expected = expected_shares(method) if prior is None else prior
    seen = among(evidence)
    return quick_scores(seen, confidence.threshold_for(seen), expected), prior


def check_prior(kind: str, validation_share: float | None) -> None:
    """Refuses what can be refused before data are read.

    Args:
        kind: uniform, source, estimate, halfway, or a file or folder.
        validation_share: of the source's images; None where a kit stands in for them, which has its own.

    Raises:
        UserError: a name that is neither a kind nor a file, or an estimate without validation images.
    """
    if kind in KINDS:
        if kind == "estimate" and validation_share == 0:
            raise UserError(
                Setting("prior", "estimate"),
                ": it is made with source images kept from training; expected ",
                Setting("data.validation_share"),
                " above 0, or another prior",
            )
    elif not file_of(kind).is_file():
        if Path(kind).is_dir():
            raise UserError(
                Setting("prior", kind),
                ": expected the folder of a run whose class shares are known from labels; it has no "
                f"{file_of(kind).name}, which `",
                Call(
                    "dalib.run.finished.label_estimates.evaluate_labels",
                    Setting("run", kind),
                    Setting("labels", "FILE"),
                ),
                "` writes",
            )
        raise UserError(
            Setting("prior", kind), f": expected {', '.join(KINDS)}, or a file of classes and shares; no such file"
        )


def read_prior(path: Path, classes: Sequence[str]) -> Tensor:
    """Reads the shares (C,) float64 from JSON of class to share, or CSV lines of class and share.

    A CSV file may have a header. Shares need not add up to 1, so that counts can be given. Columns may be separated by
    semicolons, as in some spreadsheets; decimals then have a comma. Further columns are not read.

    Args:
        path: the file, or the folder of a run with one (:func:`file_of`).
        classes: C names.

    Raises:
        UserError: a file that cannot be read, an unknown or missing class, or a share that is no number of at least 0.
    """
    path = file_of(path)
    try:
        text = text_of(path, "prior")
    except UserError as error:
        raise UserError(f"{error}; expected JSON or CSV of classes and shares") from None
    known = Classes(classes)
    try:
        if path.suffix.lower() == ".json":
            pairs = list(json.loads(text, object_pairs_hook=_once).items())
        else:
            pairs = _pairs_of_table(path, text, known)
    except (ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(Setting("prior", path), f": expected JSON or CSV of classes and shares ({error})") from None
    shares: dict[int, Any] = {}
    unknown: list[str] = []
    for name, value in pairs:
        position = known.find(str(name))
        if position is None:
            unknown.append(str(name))
        elif position in shares:
            raise UserError(
                Setting("prior", path),
                f": expected JSON or CSV of classes and shares ({name} is there twice; expected each class once)",
            )
        else:
            shares[position] = value
    missing = [name for position, name in enumerate(classes) if position not in shares]
    if unknown or missing:
        what = f"unknown class {unknown[0]}" if unknown else f"no share for {missing[0]}"
        raise UserError(Setting("prior", path), f": {what}; expected each of {', '.join(classes)} once")
    wrong = [position for position, value in shares.items() if not _is_share(value)]
    if wrong:
        raise UserError(
            Setting("prior", path),
            f": {classes[wrong[0]]} has the share {shares[wrong[0]]!r}; expected a number of at least 0",
        )
    values = torch.tensor([float(shares[position]) for position in range(len(classes))], dtype=torch.float64)
    if not values.sum() > 0:
        raise UserError(Setting("prior", path), ": all shares are 0; expected one above")
    return values / values.sum()


def _pairs_of_table(path: Path, text: str, known: Classes) -> list[tuple[str, Any]]:
    """Returns class and share of each line of CSV, without a header."""
    decimal_comma = delimiter_of(text) != ","  # who parts columns by semicolons writes decimals with a comma
    pairs: list[tuple[str, Any]] = []
    for _, row in fields_of(text, lambda line, what: UserError(Setting("prior", path), f", line {line}: {what}")):
        if len(row) > 1:
            pairs.append((row[0].strip(), row[1].replace(",", ".") if decimal_comma else row[1]))
    if pairs and known.find(pairs[0][0]) is None and not _is_share(pairs[0][1]):
        return pairs[1:]  # the header
    return pairs


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError: a name that comes twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name} is there twice; expected each class once")
        found[name] = value
    return found


def _is_share(value: object) -> bool:
    try:
        number = float(str(value))
    except ValueError:
        return False
    return math.isfinite(number) and number >= 0
