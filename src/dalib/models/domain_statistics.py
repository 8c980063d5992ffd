"""A domain's own statistics in the batch normalisation of a pretrained network."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from dalib.core.devices import device_of, in_float64, memory_format

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def normalisation_statistics(network: nn.Module) -> dict[str, Tensor]:
    """Returns the running means and variances of batch normalisation under their names in the state dict.

    Empty for a network without any, such as a vision transformer.

    >>> sorted(normalisation_statistics(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))))
    ['1.running_mean', '1.running_var']
    """
    return {
        f"{name}.{kind}": getattr(norm, kind)
        for name, norm in _norms(network)
        for kind in ("running_mean", "running_var")
    }


def with_statistics(network: nn.Module, statistics: Mapping[str, Tensor]) -> nn.Module:
    """Returns a copy of a network with other statistics of batch normalisation.

    Args:
        network: is not changed.
        statistics: as :func:`normalisation_statistics` has them, of every layer.

    Raises:
        ValueError: statistics of another network.
    """
    own = normalisation_statistics(network)
    if own.keys() != statistics.keys() or any(own[name].shape != each.shape for name, each in statistics.items()):
        raise ValueError(f"statistics: expected those of the network, {len(own)} tensors, got {len(statistics)}")
    changed = copy.deepcopy(network)
    for name, tensor in normalisation_statistics(changed).items():
        tensor.copy_(statistics[name])
    return changed


def mixed_statistics(network: nn.Module, batches: Iterable[Tensor], share: float) -> dict[str, Tensor]:
    """Returns a network's statistics of batch normalisation with a share of those of a domain's images mixed in.

    mean = (1 - share) mean_0 + share mean_d and variance = (1 - share) variance_0 + share variance_d, where 0 is the
    pretrained network's and d the domain's. The variance has no term share (1 - share) (mean_0 - mean_d)^2, which the
    law of total variance gives a mixture of both sets of images: what is normalised is the domain's images alone, the
    mixture is an estimate of their moments that is drawn towards the pretrained ones, and that term would make the
    channels small in which the domain differs most.

    The statistics of a layer depend on how the layers before it normalise. Each batch is therefore normalised by its
    own mixture, layer after layer in one forward pass: of a single batch, the result is exactly the network whose
    every layer has met the domain with the mixtures of the layers before it. A plain pass in training mode would give
    later layers what share 1 of the earlier ones lets through. Batches should hold images of all kinds.

    Args:
        network: is not changed.
        batches: images of the domain (N, C, H, W), as they reach the network.
        share: from 0, which gives the network's own, to 1, which gives the domain's.

    Raises:
        ValueError: a share outside of [0, 1], or no image.

    Source: AdaBN (Li et al. 2017) for share 1, mixtures as in Schneider et al. 2020, equation 1.

    >>> network = nn.Sequential(nn.BatchNorm1d(1))
    >>> mixed_statistics(network, [torch.tensor([[2.0], [6.0]])], 0.5)
    {'0.running_mean': tensor([2.]), '0.running_var': tensor([2.5000])}
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share: expected 0 to 1, got {share}")
    layout = memory_format(device_of(network))
    copied = cast("Any", copy.deepcopy(network).eval()).to(memory_format=layout)
    norms = [_Mixing(norm, share) for _, norm in _norms(copied)]
    count = 0
    with torch.no_grad():
        for batch in batches:
            copied(batch.contiguous(memory_format=layout) if batch.dim() == 4 else batch)
            count += len(batch)
    if not count:
        raise ValueError("batches: expected at least one image")
    for norm in norms:
        norm.finish()
    return normalisation_statistics(copied)


def distance_of_statistics(own: Mapping[str, Tensor], mixed: Mapping[str, Tensor], share: float) -> float:
    """Returns how far a domain's statistics are from a network's, in the network's standard deviations.

    Of each channel it is the Wasserstein distance of two Gaussians, ((mean_d - mean_0)^2 + (std_d - std_0)^2)^(1/2) /
    std_0, at most 5; of a layer the root of the mean square over channels, and of the network the mean over layers.

    Args:
        own: the network's, as :func:`normalisation_statistics` has them.
        mixed: as :func:`mixed_statistics` has them, from which the domain's part is taken.
        share: that they were mixed with, above 0.

    Raises:
        ValueError: a share outside of (0, 1].

    >>> own = {"0.running_mean": torch.zeros(2), "0.running_var": torch.ones(2)}
    >>> mixed = {"0.running_mean": torch.tensor([0.0, 0.5]), "0.running_var": torch.ones(2)}
    >>> round(distance_of_statistics(own, mixed, 0.5), 4)
    0.7071
    """
    if not 0 < share <= 1:
        raise ValueError(f"share: expected above 0 and up to 1, got {share}")
    layers = []
    for name in (each.removesuffix(".running_mean") for each in own if each.endswith("running_mean")):
        mean, variance = (own[f"{name}.{kind}"].cpu().double() for kind in ("running_mean", "running_var"))
        its_mean, its_variance = (
            before + (mixed[f"{name}.{kind}"].cpu().double() - before) / share
            for kind, before in (("running_mean", mean), ("running_var", variance))
        )
        std = variance.sqrt()
        squares = (its_mean - mean).square() + (its_variance.clamp_min(0).sqrt() - std).square()
        relative = squares / std.clamp_min(_LEAST_STD).square()
        layers.append(relative.clamp_max(_MOST_DEVIATIONS**2).mean().sqrt())
    return torch.stack(layers).mean().item()


_LEAST_STD = 1e-3  # channels that are nearly constant would decide alone
_MOST_DEVIATIONS = 5.0


class _Mixing:
    """Mixes the statistics of what reaches a layer into its own, batch by batch, before it normalises by them."""

    def __init__(self, norm: _BatchNorm, share: float) -> None:
        self.share = share
        self.mean, self.variance = cast("Any", norm.running_mean), cast("Any", norm.running_var)
        self.own_mean, self.own_variance = in_float64(self.mean).clone(), in_float64(self.variance).clone()
        self.count, self.sum, self.squares = 0, torch.zeros_like(self.own_mean), torch.zeros_like(self.own_mean)
        self.handle = norm.register_forward_pre_hook(self)

    def __call__(self, norm: nn.Module, args: tuple[Tensor, ...]) -> None:
        values = args[0]  # (N, C, ...)
        count = values.numel() // values.shape[1]
        mean, variance = _moments(values)
        variance = variance * (count - 1) / count
        self.count += count
        self.sum += mean * count
        self.squares += (variance + mean.square()) * count
        self._mix(mean, variance)

    def _mix(self, mean: Tensor, variance: Tensor) -> None:
        self.mean.copy_(torch.lerp(self.own_mean, mean, self.share))
        self.variance.copy_(torch.lerp(self.own_variance, variance, self.share))

    def finish(self) -> None:
        """Gives the layer the mixture with all batches; one that no image has reached keeps its own."""
        self.handle.remove()
        if self.count:
            mean = self.sum / self.count
            self._mix(mean, (self.squares / self.count - mean.square()).clamp_min(0))


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and unbiased variance (C,) of values (N, C, ...), in float64.

    As batch normalisation in training computes them, which takes a third of the time of ``torch.var_mean`` on a CPU.
    """
    if values.numel() == values.shape[1]:  # one value, of which batch normalisation makes no statistics
        only = in_float64(values.flatten())
        return only, torch.zeros_like(only)
    mean, variance = torch.zeros(2, values.shape[1], dtype=values.dtype, device=values.device)
    nn.functional.batch_norm(values, mean, variance, training=True, momentum=1.0)
    return in_float64(mean), in_float64(variance)


def _norms(network: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
            yield name, module
