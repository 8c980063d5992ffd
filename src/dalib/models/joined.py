"""Several backbones as one: each sees the same view of an image in its own size and normalisation, and their features
stand side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dalib.models.domain_statistics import normalisation_statistics, with_statistics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dalib.models.architecture import BackboneInput
    from dalib.models.pretrained import PretrainedBackbone


def largest(inputs: Sequence[BackboneInput]) -> BackboneInput:
    """Returns the input of the most pixels, which the others are made of; of equal ones the first."""
    return max(inputs, key=lambda each: each.size)


class JoinedBackbone(nn.Module):
    """Several backbones, one after the other: (N, C, H, W) -> (N, D), D being the sum of their widths.

    Args:
        members: at least two.
        inputs: what each of them sees. The images that are given are those of :func:`largest`: the others' are made of
            them, scaled down and normalised anew.

    Raises:
        ValueError: fewer than two members, or not an input for each.

    Source: ours. A view is drawn once and cut at the largest size, so that all of the members see the same part of an
    image in the same colours, and a saved network needs no more than one image.
    """

    def __init__(self, members: Sequence[PretrainedBackbone], inputs: Sequence[BackboneInput]) -> None:
        super().__init__()
        if len(members) < 2 or len(members) != len(inputs):
            raise ValueError(
                f"members, inputs: expected two of each or more, and as many, got {len(members)} and {len(inputs)}"
            )
        self.members = nn.ModuleList(members)
        self.inputs = tuple(inputs)
        self.out_features = sum(member.out_features for member in members)
        given = largest(inputs)
        self.own_inputs = nn.ModuleList(OwnInput(given, each) for each in inputs)

    def forward(self, images: Tensor) -> Tensor:
        pairs = zip(self.members, self.own_inputs, strict=True)
        return torch.cat([member(own_input(images)) for member, own_input in pairs], dim=1)

    def separate(self) -> list[nn.Module]:
        """Returns the members for images of the largest size that are normalised for the member.

        A member of that size is returned as it is, so that its features are those which it has alone.
        """
        pixels = largest(self.inputs).size
        return [
            member if own.size == pixels else ScaledInput(member, pixels, own.size)  # type: ignore[arg-type]
            for member, own in zip(self.members, self.inputs, strict=True)
        ]

    def freeze_stages(self, count: int | Literal["all"]) -> None:
        """Freezes the first stages of each; see :meth:`dalib.models.pretrained.PretrainedBackbone.freeze_stages`."""
        for member in self.members:
            member.freeze_stages(count)  # type: ignore[operator]

    def rest_norms(self, resting: bool = True) -> None:
        """Keeps all batch normalisation in evaluation mode, or only that of frozen stages."""
        for member in self.members:
            member.rest_norms(resting)  # type: ignore[operator]


def stands_twice(backbone: nn.Module) -> bool:
    """Returns whether the second half of joined backbones is the first half with other normalisation statistics."""
    if not isinstance(backbone, JoinedBackbone) or len(backbone.members) % 2:
        return False
    half = len(backbone.members) // 2
    return all(map(_same_but_for_statistics, backbone.members[:half], backbone.members[half:]))


def with_statistics_of_first_half(backbone: nn.Module) -> nn.Module:
    """Returns a copy of a backbone that :func:`stands_twice` whose second half is the first half, to the bit."""
    statistics = normalisation_statistics(backbone)
    half = len(statistics) // 2  # names in the order of the members
    of_first = [*statistics.values()][:half]
    return with_statistics(backbone, dict(zip(statistics, of_first * 2, strict=True)))


def with_first_half_twice(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the weights of a classifier whose backbone :func:`stands_twice`, the second half as the first half.

    >>> state = {"backbone.members.0.norm": torch.ones(1), "backbone.members.1.norm": torch.zeros(1)}
    >>> with_first_half_twice(state)["backbone.members.1.norm"]
    tensor([1.])
    """
    prefix = "backbone.members."
    member = {name: int(name.removeprefix(prefix).split(".")[0]) for name in state if name.startswith(prefix)}
    half = (max(member.values()) + 1) // 2
    first = {
        name: name.replace(f"{prefix}{number}.", f"{prefix}{number - half}.", 1)
        for name, number in member.items()
        if number >= half
    }
    return {name: state[first.get(name, name)] for name in state}


def _same_but_for_statistics(first: nn.Module, second: nn.Module) -> bool:
    names, other = first.state_dict(), second.state_dict()
    statistics = normalisation_statistics(first)
    return names.keys() == other.keys() and all(
        name in statistics or torch.equal(each, other[name]) for name, each in names.items()
    )


class ScaledInput(nn.Module):
    """A backbone behind the scaling of its images, from one size to a smaller one."""

    def __init__(self, backbone: PretrainedBackbone, pixels: int, own: int) -> None:
        super().__init__()
        self.scaling, self.backbone = _Scaling(pixels, own), backbone
        self.out_features = backbone.out_features

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.backbone(self.scaling(images))
        return features


class _Scaling(nn.Module):
    """Scales images as PIL does, bicubic and with antialiasing, by one matrix for rows and columns.

    A product of matrices is the same in every format of export, which antialiased interpolation is not.
    """

    matrix: Tensor

    def __init__(self, pixels: int, own: int) -> None:
        super().__init__()
        self.sizes = (pixels, own)
        lines = torch.eye(pixels)[None, None]
        scaled = F.interpolate(lines, size=(own, pixels), mode="bicubic", antialias=True, align_corners=False)
        self.register_buffer("matrix", scaled[0, 0], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.matrix @ images @ self.matrix.T

    def extra_repr(self) -> str:  # names features on the disk
        return f"{self.sizes[0]} -> {self.sizes[1]} pixels, bicubic"


class OwnInput(nn.Module):
    """Scales and normalises images for one backbone that are normalised for another one."""

    scale: Tensor
    shift: Tensor

    def __init__(self, given: BackboneInput, own: BackboneInput) -> None:
        super().__init__()
        self.scaling = nn.Identity() if own.size == given.size else _Scaling(given.size, own.size)
        self.same = (given.mean, given.std) == (own.mean, own.std)
        mean, std, own_mean, own_std = (torch.tensor(each) for each in (given.mean, given.std, own.mean, own.std))
        self.register_buffer("scale", (std / own_std).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", ((mean - own_mean) / own_std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        scaled: Tensor = self.scaling(images)
        return scaled if self.same else scaled * self.scale + self.shift
