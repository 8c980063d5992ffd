"""Whether the steps of a training on images are computed in bfloat16, which is measured once on a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.models.rounded_steps import gain_of_bfloat16_steps
from dalib.run.features.fastest import measured_once

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from dalib.data.preprocessing import Preprocessing
    from dalib.models.classifier import ImageClassifier

_MOST_PIXELS = 2**17  # of a channel, in the batch that is measured: 128 images of 32 pixels, two of 256


def gain_of_rounded_steps(
    network: ImageClassifier, preprocessing: Preprocessing, device: torch.device, batch: int, folder: Path
) -> float:
    """Returns how many times as fast a CPU computes the steps of a training in bfloat16; 1 where float32 is to be kept.

    For images of more than 256 pixels it is 1: two of them already take long, and memory that may not be there.

    Args:
        network: is trained as a whole.
        preprocessing: gives the size of its input.
        device: where it is trained; of another than a CPU nothing is measured, and it is 1.
        batch: number of images of a domain in a step; of large images fewer are measured.
        folder: where it is noted what was measured, once on a machine.
    """
    size = preprocessing.input_size
    if device.type != "cpu" or (count := min(batch, _MOST_PIXELS // size**2)) < 2:
        return 1.0
    shape = (count, preprocessing.channels, size, size)
    return measured_once(
        network, shape, "gain of bfloat16 steps", lambda: gain_of_bfloat16_steps(network, shape), folder
    )
