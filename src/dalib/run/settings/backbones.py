"""The backbones of a configuration, each with its weights. Plain values, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from dalib.core.errors import Setting, UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

OUR_BACKBONES = ("small", "digits", "paper-small", "paper-large")
"""Any other name is one of timm's."""

WeightsOrder = Literal["name", "position"]

HUB = "hub"
"""Stands for the weights that timm names, of each backbone; the one name of weights that may stand for several."""

JOINED: Final = "joined"
"""Stands for both kinds of batch-normalisation statistics: pretrained ones, and a share of each domain's."""

StatisticsShare = float | Literal["joined"]
"""The share of each domain's own batch-normalisation statistics in a frozen backbone, or JOINED."""

HUB_PREFIXES = ("hf_hub:", "hf-hub:")
"""Prefixes of the name of a repository, which has its own weights."""


@dataclass(frozen=True)
class NamedBackbone:
    """A backbone and its pretrained weights.

    Attributes:
        name: one of ours, or one of timm's.
        weights: as the setting takes them; None are random ones.
        weights_order: how the weights' tensors are matched.
    """

    name: str
    weights: str | None
    weights_order: WeightsOrder


def named_backbones(
    names: str | list[str], weights: str | list[str] | None, orders: WeightsOrder | list[WeightsOrder]
) -> tuple[NamedBackbone, ...]:
    """Returns backbones in the order of their names, nearly always one.

    Args:
        names: one or several.
        weights: as many, or ``HUB`` for all; None are random ones.
        orders: how the weights' tensors are matched: as many, or one for all.

    Raises:
        UserError: numbers of backbones, weights and orders that do not go together, a backbone of ours beside another
            one, or one backbone twice.
    """
    if isinstance(names, str):
        for setting, value in (("weights", weights), ("weights_order", orders)):
            if isinstance(value, list):
                raise UserError(
                    Setting(setting, _listed(value)), f": {len(value)} of them for one backbone, {names}; expected one"
                )
        return (NamedBackbone(names, weights, orders),)  # type: ignore[arg-type] # no lists
    _check_names(names)
    if weights is None or weights == HUB:
        weights = [weights] * len(names)  # type: ignore[list-item] # None for each
    if isinstance(weights, str) or len(weights) != len(names):
        given = [weights] if isinstance(weights, str) else weights
        raise UserError(
            Setting("weights", _listed(given)),
            f": {len(given)} of them for {len(names)} backbones ({_listed(names)}); expected the weights of each in "
            f"the same order, or {HUB} for all. The weights of lite0, lite1 and lite2 need not be given",
        )
    if isinstance(orders, str):
        orders = [orders] * len(names)
    if len(orders) != len(names):
        raise UserError(
            Setting("weights_order", _listed(orders)),
            f": {len(orders)} of them for {len(names)} backbones; expected one for each, or one for all",
        )
    found = tuple(map(NamedBackbone, names, weights, orders))
    for each in found:
        if sum((each.name, each.weights) == (other.name, other.weights) for other in found) > 1:
            raise UserError(
                Setting("backbone", _listed(names)),
                f": {each.name} stands there twice; expected different ones, or different weights for each",
            )
    return found


def _check_names(names: list[str]) -> None:
    if not names:
        raise UserError(Setting("backbone", "[]"), ": expected at least one name")
    for name in names:
        if name in OUR_BACKBONES:
            raise UserError(
                Setting("backbone", _listed(names)),
                f": {name} is a small network that is to be trained itself; expected it alone, or several of timm's "
                "with pretrained weights, whose features are joined",
            )


def _listed(values: Iterable[str]) -> str:
    return ", ".join(map(str, values))
