"""The worth of hints: others' opinions of the target as a noisy annotator's, learned from agreement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

SHARPNESS = (1.0, 0.5, 2.0, 4.0, 16.0, 64.0)
"""Exponents of the hints' probabilities that are tried: those of cosines are nearly uniform, others are too sure."""

SKILL_OF_TEACHER, SKILL_OF_HINTS = 0.75, 0.65
"""Prior means of how often each names the true class on purpose."""

PRIOR_SHARE, PRIOR_IMAGES = 0.5, 4.0
"""Images of each class that the prior means count as: this share of the mean number of its images, and so many more.

The even shares of copies that the fit begins with count as PRIOR_IMAGES alone."""

SHRINKAGE = 10.0
"""Images by which the trust in a class is drawn to the mean over classes."""

PENALTY = 2.0
"""Standard errors by which hints must explain the beliefs better than noise does before they are used at all."""

DOUBT = 0.1
"""Share of the beliefs that is spread evenly: a network that adapts is surer than it is right."""

ROUNDS = 30
"""Rounds of expectation maximisation."""

MOST_IMAGES = 4000
"""Images by which the sharpness is chosen."""

_TRUSTS = torch.linspace(0, 0.95, 20, dtype=torch.float64)  # never all of it: no hint can rule a class out


@dataclass(frozen=True)
class Annotator:
    r"""Confusion matrix of hints, and how often they copy a model that is known.

    .. math::
        \ell_{ic} = \sum_k \frac{h_{ik}}{m_k} \Bigl(\sum_j \rho_j r_{ijk} + \rho_0 \, \theta_{ck}\Bigr)

    with the hint h of image i, the mean hint m, the originals r that a hint may have copied, their shares
    :math:`\rho`, and :math:`\theta_{ck}`, the probability that a hint that is no copy names class k for one of class c.
    A hint that agrees with what it may have copied is weak evidence, and one of noise, whose :math:`\theta_c` are all
    m, is none.

    Attributes:
        confusion: (C, C), theta.
        shares: (C,), m.
        copied: (R,), rho of the originals; the rest of 1 is the share of hints that are no copies.
        trust: (C,) in [0, 0.95], weight of the hints of each class; ``confusion`` already includes it.
        sharpness: exponent of the hints' probabilities.
        gain: nats by which an image's hint is explained better than noise would be, on images that were not fitted;
            at most 0 where hints are not used.
    """

    confusion: Tensor
    shares: Tensor
    copied: Tensor
    trust: Tensor
    sharpness: float
    gain: float

    @property
    def worth(self) -> Tensor:
        """(C,) the trust in hints of each class, less the share of hints that are copies and add nothing."""
        return self.trust * (1 - self.copied.sum())

    def log_likelihood(self, hints: Tensor, originals: Tensor) -> Tensor:
        """Computes the logarithm of how likely each hint is for each class, relative to noise.

        Args:
            hints: (N, C) probabilities; a row of zeros is an image without a hint.
            originals: (N, R, C) probabilities of the models that hints may be copies of.

        Returns:
            (N, C); 0 for an image without a hint.
        """
        ratio = sharpened(hints, self.sharpness) / self.shares.to(hints)
        copies, own = self._parts(ratio, originals)
        given = hints.sum(dim=1, keepdim=True) > 0
        return torch.where(given, (copies[:, None] + own).clamp_min(1e-12).log(), 0.0)

    def own_share(self, hints: Tensor, originals: Tensor, classes: Sequence[Tensor]) -> Tensor:
        """Computes how probably each hint is its own and no copy, (N,), if the image is of one of some classes.

        Args:
            hints, originals: as for :meth:`log_likelihood`.
            classes: (N,) int64 each, equally probable classes of the images.
        """
        copies, own = self._parts(sharpened(hints, self.sharpness) / self.shares.to(hints), originals)
        own = torch.stack([own.gather(1, each[:, None])[:, 0] for each in classes]).mean(dim=0)
        return own / (copies + own).clamp_min(1e-12)

    def _parts(self, ratio: Tensor, originals: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the two parts of the likelihood: as a copy (N,), and as a hint of its own for each class (N, C)."""
        copies = _copies(ratio, originals) @ self.copied.to(ratio)
        return copies, (1 - self.copied.sum()).to(ratio) * (ratio @ self.confusion.to(ratio).T)

    def state_dict(self) -> dict[str, Any]:
        """Returns all of it, as tensors and numbers."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def sharpened(hints: Tensor, exponent: float) -> Tensor:
    """Returns rows (N, C) to the power of an exponent, with their sum 1 again; rows of zeros stay."""
    if exponent == 1:
        return hints
    highest = hints.amax(dim=1, keepdim=True)
    powers = torch.where(highest > 0, hints / highest.clamp_min(1e-30), 0.0) ** exponent
    return powers / powers.sum(dim=1, keepdim=True).clamp_min(1e-30)


def fit_annotator(
    beliefs: Tensor, hints: Tensor, originals: Tensor | None = None, *, sharpness: float | None = None
) -> Annotator:
    """Estimates the worth of hints from their agreement with beliefs that are right more often than chance.

    Args:
        beliefs: (N, C) probabilities, such as a teacher's for the whole target.
        hints: (N, C) probabilities; rows of zeros are images without a hint.
        originals: (N, R, C) probabilities of models that the hints may be copies of, such as the one that the teacher
            began as; agreement with them is no evidence of a hint's own.
        sharpness: exponent of the hints' probabilities; None chooses it.

    Source: confusion matrices of several annotators by expectation maximisation are those of Dawid and Skene (1979).
    Copies, and trust by what is explained of images that were not fitted, are ours.

    >>> truth = torch.arange(300) % 3
    >>> beliefs = torch.nn.functional.one_hot(truth, 3).double()
    >>> swapped = fit_annotator(beliefs, beliefs[:, [1, 0, 2]])  # says 1 for 0 and 0 for 1
    >>> swapped.log_likelihood(torch.tensor([[0.0, 1.0, 0.0]]), torch.zeros(1, 0, 3)).argmax().item()
    0
    """
    given = hints.sum(dim=1) > 0
    classes = hints.shape[1]
    if originals is None:
        originals = hints.new_zeros(len(hints), 0, classes)
    count = int(given.sum())
    if count < 2 * classes:
        return _uninformative(classes, originals.shape[1])
    beliefs, hints, originals = (each[given].double() for each in (beliefs, hints, originals))
    beliefs = (1 - DOUBT) * beliefs + DOUBT / classes
    originals = (originals + torch.nn.functional.one_hot(originals.argmax(dim=2), classes)) / 2
    if sharpness is None:
        sharpness = _best_sharpness(beliefs, hints, originals)
    hints = sharpened(hints, sharpness)
    excess = _held_back_excess(beliefs, hints, originals)
    found = _fit(beliefs, hints, originals)
    shares, copied = found.shares, found.copied
    gains = _gains(excess)
    best = int(gains.mean(dim=0).argmax())
    gain = gains[:, best].mean().item() - PENALTY * gains[:, best].std().item() / math.sqrt(count)
    if gain <= 0:
        trust = torch.zeros_like(shares)
    else:
        of_class = (hints.T @ gains + SHRINKAGE * gains.mean(dim=0)) / (hints.sum(dim=0)[:, None] + SHRINKAGE)
        trust = _TRUSTS[of_class.argmax(dim=1)]
    return Annotator(trust * found.confusion + (1 - trust) * shares, shares, copied, trust, sharpness, max(gain, 0.0))


def _best_sharpness(beliefs: Tensor, hints: Tensor, originals: Tensor) -> float:
    """Returns the exponent with which hints explain beliefs best, on images that were not fitted."""
    if bool((hints.amax(dim=1) > 1 - 1e-9).all()):  # labels, which no exponent changes
        return 1.0
    some = torch.linspace(0, len(hints) - 1, min(len(hints), MOST_IMAGES)).long()

    def gain(exponent: float) -> float:
        excess = _held_back_excess(beliefs[some], sharpened(hints[some], exponent), originals[some])
        return _gains(excess).mean(dim=0).max().item()

    return max(SHARPNESS, key=gain)


def _gains(excess: Tensor) -> Tensor:
    """Computes log(1 + t e), (N, T), the nats by which each hint is explained better than noise at each trust t."""
    return (excess[:, None] * _TRUSTS).clamp_min(1e-6 - 1).log1p()


def _held_back_excess(beliefs: Tensor, hints: Tensor, originals: Tensor) -> Tensor:
    """Computes how much likelier each hint is than noise, less 1: (N,), estimated from the other half of the images."""
    excess = beliefs.new_zeros(len(beliefs))
    for half in range(2):
        here = torch.arange(len(beliefs)) % 2 == half
        found = _fit(beliefs[~here], hints[~here], originals[~here])
        ratio, own = hints[here] / found.shares, 1 - found.copied.sum()
        of_class = found.prior * (beliefs[here] / found.believed @ found.teacher.T)
        of_class = of_class / of_class.sum(dim=1, keepdim=True)
        noise = _copies(ratio, originals[here]) @ found.copied + own * ratio @ found.shares
        informed = (of_class * (ratio @ found.confusion.T)).sum(dim=1)
        excess[here] = own * (informed - ratio @ found.shares) / noise
    return excess


@dataclass(frozen=True)
class _Fitted:
    """Two annotators of the same images: confusion matrices (C, C) of hints and teacher, and their mean predictions.

    Attributes:
        confusion, shares: of the hints.
        copied: (R,), shares of the hints that copy an original.
        teacher, believed: of the teacher.
        prior: (C,), shares of the true classes.
    """

    confusion: Tensor
    shares: Tensor
    copied: Tensor
    teacher: Tensor
    believed: Tensor
    prior: Tensor


def _fit(beliefs: Tensor, hints: Tensor, originals: Tensor) -> _Fitted:
    """Fits hints and teacher as two annotators of unknown classes, by expectation maximisation.

    Who of the two is wrong where they disagree in a pattern cannot be seen from them alone. Three things decide: each
    is expected to mean its own class, the teacher more so; and the true classes to be about equally frequent.
    """
    count, classes = hints.shape
    kinds = originals.shape[1]
    shares, believed = ((each.sum(dim=0) + 1 / classes) / (count + 1) for each in (hints, beliefs))
    ratio, of_teacher = hints / shares, beliefs / believed
    copies = _copies(ratio, originals)
    even = torch.full((kinds + 1,), 1.0 / (kinds + 1), dtype=torch.float64)
    parts, prior = even, torch.full((classes,), 1 / classes, dtype=torch.float64)
    confusion, teacher = _usual(SKILL_OF_HINTS, shares), _usual(SKILL_OF_TEACHER, believed)
    for _ in range(ROUNDS):
        by_teacher = of_teacher @ teacher.T
        said = prior * by_teacher * ((copies @ parts[1:])[:, None] + parts[0] * (ratio @ confusion.T))
        evidence = said.sum(dim=1, keepdim=True)
        before = prior * by_teacher / evidence
        own = parts[0] * confusion * (before.T @ ratio)
        copied = parts[1:] * (copies * before.sum(dim=1, keepdim=True)).sum(dim=0)
        of_class = said / evidence
        teacher = _smoothed(teacher * ((of_class / by_teacher).T @ of_teacher), SKILL_OF_TEACHER, believed)
        confusion = _smoothed(own, SKILL_OF_HINTS, shares)
        parts = torch.cat([own.sum()[None], copied])
        parts = (parts + PRIOR_IMAGES * even) / (parts.sum() + PRIOR_IMAGES)
        prior = (of_class.mean(dim=0) + 1 / classes) / 2
    return _Fitted(confusion, shares, parts[1:], teacher, believed, prior)


def _usual(skill: float, shares: Tensor) -> Tensor:
    """Returns the confusion matrix (C, C) of an annotator that is equally right for each class, else at random."""
    return skill * torch.eye(len(shares), dtype=torch.float64) + (1 - skill) * shares


def _smoothed(counts: Tensor, skill: float, shares: Tensor) -> Tensor:
    """Returns the confusion matrix of counts and of so many more images as the usual annotator would have them."""
    more = PRIOR_IMAGES + PRIOR_SHARE * counts.sum() / len(shares)
    return (counts + more * _usual(skill, shares)) / (counts.sum(dim=1, keepdim=True) + more)


def _copies(ratio: Tensor, originals: Tensor) -> Tensor:
    """Computes how likely each hint is as a copy of each original, relative to noise: (N, R)."""
    return torch.einsum("nk,nrk->nr", ratio, originals.to(ratio))


def _uninformative(classes: int, originals: int) -> Annotator:
    shares = torch.full((classes,), 1 / classes, dtype=torch.float64)
    zeros = torch.zeros(classes, dtype=torch.float64)
    copied = torch.zeros(originals, dtype=torch.float64)
    return Annotator(shares.expand(classes, -1).clone(), shares, copied, zeros, 1.0, 0.0)
