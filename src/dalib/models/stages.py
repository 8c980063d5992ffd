"""A pretrained backbone in two parts: a trunk that stays as it is, and a tail of its last stages that is trained."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dalib.models.pretrained import PretrainedBackbone

_TOLERANCE = 1e-3  # the largest difference to the whole network, as a share of the largest output


class Layers(nn.Module):
    """Some layers of a network, called one after the other; their tensors have the names that they have there.

    Args:
        network: the layers are taken from it, and shared with it.
        names: the layers in the order of their calls, such as ``blocks.5``.
    """

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.network = nn.Module()
        for name in self.names:
            *folders, last = name.split(".")
            place = self.network
            for folder in folders:
                if not hasattr(place, folder):
                    place.add_module(folder, nn.Module())
                place = place.get_submodule(folder)
            place.add_module(last, network.get_submodule(name))

    def forward(self, values: Tensor) -> Tensor:
        return _called(self.network, self.names, values)


class Tail(nn.Module):
    """The last stages of a backbone: maps (N, C, h, w) of its trunk -> features (N, out_features).

    Batch normalisation rests, in training mode too: it keeps its statistics, and its scale and shift are trained. The
    names of its tensors are those of the backbone. The layers are shared with those that it is made of.
    """

    names: tuple[str, ...]
    network: nn.Module

    def __init__(self, layers: Layers | Tail, out_features: int) -> None:
        super().__init__()
        self.names, self.network, self.out_features = layers.names, layers.network, out_features
        self.train(self.training)

    def forward(self, maps: Tensor) -> Tensor:
        return _called(self.network, self.names, maps)

    def train(self, mode: bool = True) -> Tail:
        """Sets training mode as for any module; batch normalisation stays in evaluation mode."""
        super().train(mode)
        _rest(self)
        return self


class MarkedTail(Tail):
    """A tail whose features are standardised by the statistics of each image's domain.

    Args:
        tail: maps (N, C, ...) -> features (N, D). Its tensors have the same names here.
        means, deviations: (K, D), a row for each domain; None leaves features as they are.

    Call it with marked maps (N, C + 1, ...) (:class:`dalib.data.rows.Marked`): the last channel holds the number of the
    domain. Maps of several domains can then be in one batch, as they are in a training, and the head sees what it is
    used to. The statistics are no weights, and are not saved.
    """

    means: Tensor
    deviations: Tensor

    def __init__(self, tail: Tail, means: Tensor | None = None, deviations: Tensor | None = None) -> None:
        super().__init__(tail, tail.out_features)
        none = torch.zeros(1, self.out_features), torch.ones(1, self.out_features)
        self.register_buffer("means", none[0] if means is None else means, persistent=False)
        self.register_buffer("deviations", none[1] if deviations is None else deviations, persistent=False)

    def forward(self, marked: Tensor) -> Tensor:
        features = super().forward(marked[:, :-1])
        marks = marked.flatten(1)[:, -1].long().clamp_max(len(self.means) - 1)
        return (features - self.means[marks]) / self.deviations[marks]


def split_at(backbone: PretrainedBackbone, trained: int) -> tuple[nn.Module, Tail]:
    """Splits a backbone into its trunk and a tail of its last stages: ``tail(trunk(images))`` is ``backbone(images)``.

    The trunk shares its layers with the backbone; the tail has a copy, all of whose parameters learn.

    Args:
        backbone: a network whose layers are called one after the other, as in most convolutional networks.
        trained: stages of the tail, see :meth:`~dalib.models.pretrained.PretrainedBackbone.stages`; at least 1, and
            fewer than all.

    Raises:
        ValueError: another number of stages, or a network whose parts cannot be called one after the other.

    >>> from dalib.models.pretrained import PretrainedBackbone
    >>> trunk, tail = split_at(PretrainedBackbone("resnet10t", size=32).eval(), trained=1)
    >>> maps = trunk(torch.zeros(2, 3, 32, 32))
    >>> maps.shape, tail(maps).shape
    (torch.Size([2, 256, 2, 2]), torch.Size([2, 512]))
    """
    stages = backbone.stages()
    if not 1 <= trained < len(stages):
        raise ValueError(
            f"trained: {backbone.name} has {len(stages)} stages; expected 1 to {len(stages) - 1} of them, got {trained}"
        )
    names = _layers_of(backbone.network)
    learning = {name for stage in stages[-trained:] for name in stage}
    first = next(number for number, name in enumerate(names) if any(each.startswith(f"{name}.") for each in learning))
    before = {f"{name}.{each}" for name in names[:first] for each in _parameters(backbone, name)}
    trunk = Layers(backbone.network, names[:first])
    tail = Tail(copy.deepcopy(Layers(backbone.network, names[first:])), backbone.out_features)
    tail.requires_grad_(True)
    if before & learning or len(before) + len(learning) != len(list(backbone.network.parameters())):
        raise _not_one_after_the_other(backbone)
    _require_same(backbone, trunk, tail)
    return trunk, tail


def _called(network: nn.Module, names: Sequence[str], values: Tensor) -> Tensor:
    for name in names:
        values = network.get_submodule(name)(values)
    return values


def _rest(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            module.eval()


def _parameters(backbone: PretrainedBackbone, name: str) -> list[str]:
    return [each for each, _ in backbone.network.get_submodule(name).named_parameters()]


def _layers_of(network: nn.Module, prefix: str = "") -> list[str]:
    """Returns the names of a network's layers in the order in which they were made; sequences are taken apart."""
    found: list[str] = []
    for name, layer in network.named_children():
        whole = f"{prefix}{name}"
        found += _layers_of(layer, f"{whole}.") if isinstance(layer, nn.Sequential) and len(layer) else [whole]
    return found


@torch.no_grad()
def _require_same(backbone: PretrainedBackbone, trunk: nn.Module, tail: Tail) -> None:
    """Refuses parts that do not give what the whole gives, seen on two random images."""
    images = torch.randn(2, *backbone.shape, generator=torch.Generator().manual_seed(0))
    images = images.to(next(backbone.parameters()).device)
    mode = backbone.training
    try:
        backbone.eval()
        tail.eval()
        expected = backbone(images)
        found: Any = tail(trunk(images))
        same = isinstance(found, Tensor) and found.shape == expected.shape
        same = same and bool((found - expected).abs().max() <= _TOLERANCE * expected.abs().max().clamp_min(1e-6))
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError):
        same = False
    finally:
        backbone.train(mode)
        tail.train(mode)
    if not same:
        raise _not_one_after_the_other(backbone)


def _not_one_after_the_other(backbone: PretrainedBackbone) -> ValueError:
    return ValueError(
        f"trained: {backbone.name} does not call its layers one after the other, so it cannot be split into "
        "stages that are kept and stages that are trained; expected a network such as lite0, mobilenetv3_large_100 or "
        "resnet50, or 0 stages"
    )
