"""The architecture of a classifier as plain values, and its form in JSON. No torch.

A saved model, a kit and every exported file have it in this form.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_NUMBER = 2**16
"""Bound of the sizes, widths and counts of a network."""


@dataclass(frozen=True)
class BackboneInput:
    """Size and normalisation in which a backbone sees an image.

    Attributes:
        size: height and width in pixels.
        mean, std: of each channel on the scale [0, 1], which the image is normalised by.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TimmSettings:
    """Settings of timm's backbones, which our own small ones do not have.

    Attributes:
        pretrained: whether training starts from pretrained weights, which then learn at a lower rate than the rest.
        frozen_stages: the number of first stages that do not learn; -1 for all.
        frozen_norms: whether batch normalisation keeps its running statistics in training.
        checkpointing: whether activations are computed again in the backward pass, which saves memory.
        features: whether the backbone was frozen and the rest trained on its stored features.
    """

    pretrained: bool = False
    frozen_stages: int
    frozen_norms: bool = False
    checkpointing: bool
    features: bool = False


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """All from which :func:`dalib.models.network.make_classifier` builds a network, beside the number of its classes.

    Attributes:
        backbones: the name of one backbone, ours or timm's, or the names of several of timm's.
        bottleneck_dim: the width of the layer before the head, at least 1; None without this layer.
        averaged_views: the number of warps of an image whose predictions are averaged; 0 predicts the image alone.
        mirrored: whether every other warp also mirrors; None mirrors for timm's backbones alone.
        channels: the number of an image's channels, at least 1.
        size: height and width in pixels of the images that the network takes, at least 1.
        bottleneck_norm: whether the bottleneck has batch normalisation.
        dropout: the share that is dropped in training, in [0, 1).
        standardize: whether the network standardises the features of its backbone.
        inputs: what each of several backbones sees; empty for one.
        timm: settings of timm's backbones; None for ours.
        features_dim: the width of stored features of the backbone, which the network takes; None for images.
        takes_head_features: whether rows (N, D) in place of images enter at the head.
        left_out: names of settings that the model's file does not have, because it is of an older version. They have
            their defaults, and :meth:`to_json` leaves them out again.
    """

    backbones: tuple[str, ...]
    bottleneck_dim: int | None
    averaged_views: int = 0
    mirrored: bool | None = None
    channels: int
    size: int
    bottleneck_norm: bool = True
    dropout: float = 0.0
    standardize: bool = False
    inputs: tuple[BackboneInput, ...] = ()
    timm: TimmSettings | None = None
    features_dim: int | None = None
    takes_head_features: bool = False
    left_out: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    @classmethod
    def from_json(cls, content: object) -> Architecture:
        """Parses what :meth:`to_json` returns, or returned in older versions, where some settings were not known yet.

        Raises:
            KeyError: a setting without a default is missing.
            TypeError: the content is no object, or its backbones are no names.
            ValueError: a setting is not known, or out of its range.
        """
        known = _checked(content)
        values = {name: bool(value) if name in _FLAGS else value for name, value in known.items()}
        one = isinstance(known["backbone"], str)
        inputs = [] if one else known["inputs"]
        values |= {
            "backbones": (known["backbone"],) if one else tuple(known["backbone"]),
            "inputs": tuple(BackboneInput(each["size"], tuple(each["mean"]), tuple(each["std"])) for each in inputs),
            "timm": TimmSettings(**_values_of(TimmSettings, values)) if values.keys() & _names(TimmSettings) else None,
            "left_out": frozenset(_DEFAULTS.keys() - known.keys()),
        }
        return cls(**_values_of(cls, values))

    def to_json(self) -> dict[str, Any]:
        """Returns the object that stands in files; settings that do not concern this network are not in it."""
        content: dict[str, Any] = {
            "backbone": list(self.backbones) if self.several else self.backbones[0],
            "bottleneck_dim": self.bottleneck_dim,
            "averaged_views": self.averaged_views,
            "channels": self.channels,
            "size": self.size,
            "bottleneck_norm": self.bottleneck_norm,
            "dropout": self.dropout,
            "standardize": self.standardize,
        }
        if self.several:
            content["inputs"] = [
                {"size": each.size, "mean": list(each.mean), "std": list(each.std)} for each in self.inputs
            ]
        if self.timm is not None:
            content |= asdict(self.timm)
        if self.mirrored is not None:
            content["mirrored"] = self.mirrored
        if self.of_stored_features:
            content["features_dim"] = self.features_dim
        if self.takes_head_features:
            content["takes_head_features"] = True
        absent = {name for name in self.left_out & content.keys() if content[name] == _DEFAULTS[name]}
        return {name: value for name, value in content.items() if name not in absent}

    @property
    def several(self) -> bool:
        """True if the features of several backbones stand side by side."""
        return len(self.backbones) > 1

    @property
    def of_stored_features(self) -> bool:
        """True if the network takes stored features of its backbone, and has none itself."""
        return self.features_dim is not None

    @property
    def mirrors(self) -> bool:
        """True if every other warp of an image mirrors it."""
        return self.timm is not None if self.mirrored is None else self.mirrored

    @property
    def pretrained(self) -> bool:
        """True if the backbone starts from pretrained weights."""
        return self.timm is not None and self.timm.pretrained

    @property
    def trained_on_features(self) -> bool:
        """True if the backbone is frozen, and the rest was trained on its stored features."""
        return self.timm is not None and self.timm.features

    def members(self) -> tuple[Architecture, ...]:
        """Returns the architecture with each of several backbones alone, of the size that the backbone sees."""
        return tuple(
            replace(self, backbones=(name,), size=own.size, inputs=())
            for name, own in zip(self.backbones, self.inputs, strict=True)
        )

    def on_features(self, features_dim: int) -> Architecture:
        """Returns the architecture of what follows the backbone, for stored features (N, V, features_dim) of it."""
        return replace(self, features_dim=features_dim)


def _names(record: type[Architecture | TimmSettings]) -> set[str]:
    return {each.name for each in fields(record)}


def _values_of(record: type[Architecture | TimmSettings], values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values of a record's fields; raises a KeyError for one that is missing and has no default."""
    return {each.name: values[each.name] for each in fields(record) if each.name in values or each.default is MISSING}


_FIELDS = (*fields(Architecture), *fields(TimmSettings))
_DEFAULTS = {each.name: each.default for each in _FIELDS if each.default is not MISSING}
_FLAGS = {each.name for each in _FIELDS if each.type == "bool"}
_KEYS = {"backbone", *(each.name for each in _FIELDS)} - {"backbones", "timm", "left_out"}
_LEAST = {"channels": 1, "size": 1, "bottleneck_dim": 1, "frozen_stages": -1}
_YES_OR_NO = _FLAGS | {"mirrored"}
_NULLABLE = _YES_OR_NO | {"bottleneck_dim", "features_dim", "inputs"}


def _checked(content: object) -> dict[str, Any]:
    """Returns the object that describes an architecture.

    An impossible one raises an error before a network is built: sizes alone could take all memory.
    """
    if not isinstance(content, dict):
        raise TypeError(f"architecture: expected settings of a backbone, got {content!r}")
    backbone = content.get("backbone")
    if isinstance(backbone, list):
        _check_several(content)
    elif not isinstance(backbone, str):
        raise TypeError(f"architecture: expected settings of a backbone, got {content!r}")
    for name, value in content.items():
        if name not in _KEYS:
            raise ValueError(f"architecture: {name}: not a setting that this version knows; update dalib")
        if name == "backbone" or (name == "inputs" and isinstance(backbone, list)):
            continue
        least = _LEAST.get(name, 0)
        number = isinstance(value, (int, float) if name == "dropout" else int)
        number = number and (name in _YES_OR_NO or not isinstance(value, bool))  # true would be taken for 1
        if not ((value is None and name in _NULLABLE) or (number and least <= value <= MAX_NUMBER)):
            raise ValueError(f"architecture: {name}: expected a number from {least} to {MAX_NUMBER}, got {value!r}")
    return content


def _check_several(content: dict[str, Any]) -> None:
    """Raises an error for several backbones that are no names, or whose inputs are none."""
    names, inputs = content["backbone"], content.get("inputs")
    if len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise TypeError(f"architecture: backbone: expected names of two backbones or more, got {names!r}")
    if not isinstance(inputs, list) or len(inputs) != len(names):
        raise TypeError(f"architecture: inputs: expected one for each of {len(names)} backbones, got {inputs!r}")
    for each in inputs:
        size, channels = each["size"], content["channels"]
        if type(size) is not int or not 1 <= size <= MAX_NUMBER:
            raise ValueError(f"architecture: inputs: size: expected a number from 1 to {MAX_NUMBER}, got {size!r}")
        for name in ("mean", "std"):
            values = each[name]
            numbers = isinstance(values, list) and all(isinstance(value, (int, float)) for value in values)
            if not numbers or len(values) != channels or not all(map(math.isfinite, values)):
                raise ValueError(f"architecture: inputs: {name}: expected {channels} numbers, got {values!r}")
        if min(each["std"]) <= 0:
            raise ValueError(f"architecture: inputs: std: expected numbers above 0, got {each['std']!r}")
        if unknown := [name for name in each if name not in ("size", "mean", "std")]:
            raise ValueError(f"architecture: inputs: {unknown[0]}: expected size, mean and std alone; update dalib")


def has_backbones_twice(names: Sequence[str]) -> bool:
    """Returns whether the second half of a network's backbones are the first half again.

    >>> has_backbones_twice(["resnet18", "resnet18"]), has_backbones_twice(["resnet18", "resnet50"])
    (True, False)
    """
    half = len(names) // 2
    return half > 0 and [*names[:half]] == [*names[half:]]
