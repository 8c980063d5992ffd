"""The judgement of models of any origin, as a person and a program read it."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dalib.core.errors import UserError
from dalib.core.words import likelihood, meant, share_within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dalib.judge.estimate import AccuracyEstimate

ModelsOutcome = Literal["helped", "hurt", "collapsed", "best", "unclear"]


@dataclass(frozen=True)
class RankedModel:
    """One model with its rank, its estimate, or the reasons why it has none.

    Attributes:
        name: the model's name.
        mean_probability: mean probability of being better than each other model; None without features.
        classes: the number of classes that it predicts in effect (:func:`dalib.judge.evidence.effective_classes`).
        validation_accuracy: its accuracy on the source's validation images; None without any.
        estimate: its accuracy on the target, estimated; None where the evidence does not permit it.
        no_estimate: the reason why there is no estimate.
        failed: why the model cannot be the best: it collapsed, or is at chance; empty where it can.
    """

    name: str
    mean_probability: float | None
    classes: float
    validation_accuracy: float | None = None
    estimate: AccuracyEstimate | None = None
    no_estimate: str = ""
    failed: str = ""


@dataclass(frozen=True, repr=False)
class ModelsJudgement:
    """The comparison of several models of one target without target labels.

    Attributes:
        best: name of the first model of the ranking.
        outcome: with a reference ``helped``, ``hurt``, ``collapsed`` or ``unclear``, of the best other model against
            it; without one ``best`` or ``unclear``.
        headline: the outcome in a sentence; it is no measurement.
        reasons: reasons for it, a sentence each.
        missing: what the judgement lacked, a sentence each.
        models: from the best to the worst.
        pairs: row i and column j: the probability that model i is better than model j, in the order of ``models``;
            None on the diagonal. Empty without features.
        reference: name of the model without adaptation; None if none was named.
        images: number of target images that the models were judged by.
        differing: names of some images on which the first two models of the ranking predict different classes, with the
            two classes.
        groups: how many groups of images that belong together the target has, in words; empty where each image counts
            for itself.
        pictures: small pictures of images of ``differing``, as the content of files, by the names of the images; empty
            where no images were given. They are no part of :meth:`as_dict`.
    """

    best: str
    outcome: ModelsOutcome
    headline: str
    reasons: tuple[str, ...]
    missing: tuple[str, ...]
    models: tuple[RankedModel, ...]
    pairs: tuple[tuple[float | None, ...], ...]
    reference: str | None
    images: int
    differing: tuple[tuple[str, str, str], ...] = field(default=())
    groups: str = ""
    pictures: Mapping[str, bytes] = field(default_factory=dict, compare=False)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the judgement lacks, and how many groups of images it counted, a sentence each."""
        return (*self.missing, *([f"{self.groups}."] if self.groups else []))

    @property
    def ranking(self) -> tuple[str, ...]:
        """Names of the models from the best to the worst, as far as it is known."""
        return tuple(each.name for each in self.models)

    def __getitem__(self, name: str) -> RankedModel:
        """Returns the judgement of the model of a name."""
        return {each.name: each for each in self.models}[name]

    def probability(self, one: str, other: str) -> float | None:
        """Returns the probability that one model is better than another; None without features.

        Raises:
            UserError: no model of that name.
        """
        ranking = self.ranking
        for name in (one, other):
            if name not in ranking:
                raise UserError(f"{name}: expected one of the models, {', '.join(ranking)}{meant(name, ranking)}")
        place, other_place = ranking.index(one), ranking.index(other)
        return self.pairs[place][other_place] if self.pairs else None

    def as_dict(self) -> dict[str, Any]:
        """Returns the judgement as numbers, texts and lists, which JSON takes."""
        return {"version": 1, **{name: each for name, each in asdict(self).items() if name != "pictures"}}

    def __repr__(self) -> str:
        """Formats the headline and a line for each model."""
        lines = [f"{self.headline}."]
        for place, each in enumerate(self.models, 1):
            told = [f"{place}. {each.name}"]
            if each.mean_probability is not None:
                told.append(f"better than another with a probability of {likelihood(each.mean_probability)}")
            told.append(str(each.estimate) if each.estimate else f"no estimate ({each.no_estimate})")
            lines.append(", ".join([*told, *([each.failed] if each.failed else [])]))
        return "\n".join([*lines, *self.remarks])

    def _repr_html_(self) -> str:
        rows = []
        for each in self.models:
            chance = "" if each.mean_probability is None else likelihood(each.mean_probability)
            told = share_within(each.estimate.value, each.estimate.low, each.estimate.high) if each.estimate else "none"
            cells = "".join(f"<td>{html.escape(text)}</td>" for text in (chance, told, each.failed))
            rows.append(f"<tr><th>{html.escape(each.name)}</th>{cells}</tr>")
        notes = "".join(f"<p>{html.escape(each)}</p>" for each in self.remarks)
        head = "<tr><th>model</th><th>better than another</th><th>estimated accuracy</th><th></th></tr>"
        return f"<div><p><b>{html.escape(self.headline)}</b></p><table>{head}{''.join(rows)}</table>{notes}</div>"
