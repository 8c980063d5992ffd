"""The fastest way to call a frozen network, measured once on a machine and noted beside the features.

Two ways differ in their last bits: features that are made again in the noted way are the same to the bit.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import platform
from typing import TYPE_CHECKING, Any, Literal

import torch

from dalib.core.console import say
from dalib.core.devices import memory_format
from dalib.core.errors import UserError
from dalib.core.files import locked, read_json, write_json
from dalib.data.cache import default_cache_folder, writable_cache_folder
from dalib.models.inference import FastInference, fast_inference, gain_of_bfloat16

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

    from dalib.data.preprocessing import Preprocessing
    from dalib.models.classifier import ImageClassifier

Precision = Literal["float32", "bfloat16"]

LARGE = 96
"""Pixels from which images take a backbone long; of smaller ones, many at once are fastest."""

_BATCH_OF_SMALL = 256

_NOTES = "fastest.json"  # in the folder of the features


def images_at_once(device: torch.device) -> int:
    """Returns how many images a backbone takes at once; on a CPU, fresh memory for more costs more than it saves."""
    return 8 if device.type == "cpu" else 64


def in_batches(network: nn.Module, preprocessing: Preprocessing, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Returns a function that calls a network on any number of stored images, some at a time: results on the CPU.

    Args:
        network: (N, C, size, size) uint8 -> a tensor (N, ...); it is moved to the device, in evaluation mode.
        preprocessing: gives the size of its input.
        device: where it computes.
    """
    # convolutions read channels last faster; the order of sums changes, and with it the last bits
    layout = memory_format(device)
    network = network.eval().to(device).to(memory_format=layout)
    # large images are as many at once as where features are computed: memory for more of them costs time
    batch = images_at_once(device) if preprocessing.input_size >= LARGE else _BATCH_OF_SMALL

    def call(images: Tensor) -> Tensor:
        with torch.no_grad():
            parts = [network(part.to(device, memory_format=layout)).cpu() for part in torch.split(images, batch)]
        return torch.cat(parts)

    return call


def features_folder() -> Path:
    """Returns the folder where features are kept."""
    return writable_cache_folder(default_cache_folder(), say) / "features"


def precision_named(setting: str) -> Precision:
    """Returns the number type of a run's features; where none was chosen, it is float32."""
    return "bfloat16" if setting == "bfloat16" else "float32"


def precision_for(
    asked: str, network: ImageClassifier, preprocessing: Preprocessing, device: torch.device, folder: Path | None = None
) -> Precision:
    """Returns the number type of features; for auto it is the faster one, of float32 where they take no time.

    Args:
        asked: auto, float32 or bfloat16.
        network, preprocessing, device, folder: see :func:`gain_of_rounding`.
    """
    if asked != "auto":
        return precision_named(asked)
    return faster_precision(gain_of_rounding(network, preprocessing, device, folder))


def faster_precision(gain: float) -> Precision:
    """Returns bfloat16 where it is so many times as fast as float32 that rounding gains something."""
    return "bfloat16" if gain > 1 else "float32"


def to_pooled(network: ImageClassifier) -> nn.Module:
    """Returns the part of a classifier that is called fast: its backbone with the pooling behind it."""
    return torch.nn.Sequential(network.backbone, network.pool_layer)


def gain_of_rounding(
    network: ImageClassifier, preprocessing: Preprocessing, device: torch.device, folder: Path | None = None
) -> float:
    """Returns how many times as fast a CPU computes features in bfloat16; 1 where float32 is to be kept.

    Args:
        network: its backbone is measured.
        preprocessing: gives the size of its input; for images below 96 pixels, of which features take no time, it is 1.
        device: where it computes; of another than a CPU nothing is measured, and it is 1.
        folder: where features are kept, and with them what was measured: once on a machine. None measures anew.
    """
    size = preprocessing.input_size
    if device.type != "cpu" or size < LARGE:
        return 1.0
    model, shape = to_pooled(network).eval(), (images_at_once(device), preprocessing.channels, size, size)
    if folder is None:
        return gain_of_bfloat16(model, shape)

    def kept(bfloat16: bool) -> FastInference:
        return kept_fastest(model, shape, folder, "bfloat16" if bfloat16 else "float32")

    return measured_once(model, shape, "gain of bfloat16", lambda: gain_of_bfloat16(model, shape, kept), folder)


def measured_once(
    model: nn.Module, shape: tuple[int, int, int, int], what: str, measure: Callable[[], float], folder: Path
) -> float:
    """Returns the noted measurement of a network on this machine; measures it the first time."""
    note, key = folder / _NOTES, _key_of(model, shape, what)
    choices = _noted(note)
    if key not in choices:
        choices = _note(note, key, round(measure(), 2))
    return float(choices[key])


def fastest_classifier(network: ImageClassifier, preprocessing: Preprocessing) -> ImageClassifier:
    """Returns a classifier for prediction on a CPU whose backbone is called as where features are computed.

    What follows the backbone is a copy of that of ``network``; logits are the same to the rounding of float32.
    """
    size, device = preprocessing.input_size, torch.device("cpu")
    shape = (images_at_once(device), preprocessing.channels, size, size)
    fast = _Called(kept_fastest(to_pooled(network), shape, features_folder()), network.backbone.out_features)
    return copy.deepcopy(network, {id(network.backbone): fast, id(network.pool_layer): torch.nn.Identity()}).eval()


class _Called(torch.nn.Module):
    """A function of images in a backbone's place."""

    def __init__(self, call: Callable[[Tensor], Tensor], out_features: Any) -> None:
        super().__init__()
        self.call, self.out_features = call, out_features

    def forward(self, images: Tensor) -> Tensor:
        return self.call(images)


def kept_fastest(
    model: nn.Module, shape: tuple[int, int, int, int], folder: Path, precision: Precision = "float32"
) -> FastInference:
    """Returns the fastest way to call a network, measured once on a machine and kept in a file of the folder.

    Two ways differ in their last bits; features that are made again are the same to the bit.
    """
    note, key = folder / _NOTES, _key_of(model, shape, *(() if precision == "float32" else (precision,)))
    known, bfloat16 = _noted(note).get(key), precision == "bfloat16"
    if known is None:
        fast = fast_inference(model, shape, bfloat16=bfloat16)
        own = {"variant": fast.variant, "chunk": fast.chunk}
        known = _note(note, key, own)[key]
        if known == own:
            return fast
    return fast_inference(model, shape, known=(known["variant"], known["chunk"]), bfloat16=bfloat16)


def _key_of(model: nn.Module, shape: tuple[int, int, int, int], *more: str) -> str:
    shapes = [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    what = repr((shapes, shape, torch.__version__, platform.node(), torch.get_num_threads(), *more))
    return hashlib.blake2b(what.encode(), digest_size=8).hexdigest()


def _note(note: Path, key: str, value: Any) -> dict[str, Any]:
    """Adds to the notes what was measured, also to what another run has noted in the meantime; returns them.

    Of two runs that measure the same at a time, the first one's counts for both: they share the features.

    Raises:
        UserError: a disk that is full or a folder that cannot be written.
    """
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        with locked(note.with_suffix(".lock"), wait=True):
            notes = {key: value, **_noted(note)}
            write_json(note, notes)
    except OSError as error:
        raise UserError(
            f"{note}: cannot be written ({error.strerror or error}); free some space, or set DALIB_CACHE to another "
            "folder"
        ) from None
    return notes


def _noted(note: Path) -> dict[str, Any]:
    choices: dict[str, Any] = {}
    with contextlib.suppress(UserError, OSError):  # none yet, or damaged: measured anew
        choices = read_json(note)
    return choices
