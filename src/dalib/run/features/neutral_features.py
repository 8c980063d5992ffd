"""Features of a run's images by a network that none of its trainings has changed, for the judgement."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from dalib.core.console import CountedProgress
from dalib.core.places import in_short
from dalib.data.rows import Selected
from dalib.engine.evaluate import MOST_EVALUATED, evaluated_rows, representing_rows
from dalib.engine.features import FeatureStore, extract_features, features_key, weights_fingerprint
from dalib.judge.structure import Representation
from dalib.models.pretrained import PretrainedBackbone, pretrained_settings
from dalib.models.weights import load_weights, locate_weights
from dalib.run.features.fastest import features_folder, images_at_once, kept_fastest
from dalib.run.features.feature_space import SEED
from dalib.run.settings.image_defaults import SHORT_NAMES, WEIGHTS_PACKAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from dalib.data.domain_images import LabelledImages
    from dalib.data.rows import Rows

PIXELS = 96
"""Side of the images that the network sees: less than half of what it learnt from, because a judgement has to be
cheap."""

MOST_OF_SOURCE = 1000
"""Source images that are read."""


def neutral_representation(source: LabelledImages, target: Rows, device: torch.device) -> Representation | None:
    """Returns the features of both domains by the pretrained network that is installed with dalib.

    Networks that are trained as a whole have features of their own, and each favours the model that it was trained
    with. EfficientNet-Lite0 with ImageNet's weights favours none.

    Args:
        source: training images, (C, H, W) uint8, with their labels; at most 1000 are read.
        target: target images, (C, H, W) uint8; those that are evaluated are read.
        device: where the network computes.

    Returns:
        None where the weights are not installed, or images have neither one channel nor three.
    """
    if not _seen_by_installed(source.images):
        return None
    network = _InstalledNetwork.of(device)
    return _beside(network, *_of_source(network, source), target)


def neutral_source(source: LabelledImages, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """Returns the features (N, D) of the source images that :func:`neutral_representation` reads, and their labels."""
    return _of_source(_InstalledNetwork.of(device), source) if _seen_by_installed(source.images) else None


def neutral_beside(source: Tensor, labels: Tensor, target: Rows, device: torch.device) -> Representation | None:
    """Returns what :func:`neutral_representation` does, for a source whose features are known.

    Args:
        source: (N, D) features of the source by the same network; another width counts as no features.
        labels: (N,) int64, theirs.
        target, device: as there.
    """
    return _beside(_InstalledNetwork.of(device), source, labels, target) if _seen_by_installed(target) else None


def _of_source(network: _InstalledNetwork, source: LabelledImages) -> tuple[Tensor, Tensor]:
    rows = representing_rows(len(source.labels), MOST_OF_SOURCE)
    return network.features(Selected(source.images, rows), "source images, for the judgement"), source.labels[rows]


def _beside(network: _InstalledNetwork, source: Tensor, labels: Tensor, target: Rows) -> Representation | None:
    if not _seen_by_installed(target):
        return None
    rows = Selected(target, evaluated_rows(len(target)))
    of_target = network.features(rows, "target images, for the judgement")
    if source.shape[1:] != of_target.shape[1:]:
        source, labels = of_target[:0], labels[:0]
    return Representation(of_target, source, labels)


def _seen_by_installed(images: Rows) -> bool:
    """Returns whether there are images, of one channel or three, and the weights of the network are installed."""
    if find_spec(WEIGHTS_PACKAGE) is None or not len(images):
        return False
    return images[torch.zeros(1, dtype=torch.int64)].shape[1] in (1, 3)


def rows_seen(source: int, target: int) -> int:
    """Returns how many images :func:`neutral_representation` reads of so many; 0 where there is no network for it."""
    if find_spec(WEIGHTS_PACKAGE) is None:
        return 0
    return min(source, MOST_OF_SOURCE) + min(target, MOST_EVALUATED)


def seconds_of_a_row(pixels: Tensor, device: torch.device) -> float:
    """Measures how long one image takes, on some rows (N, C, H, W) uint8; 0 where there is no network for them."""
    if pixels.shape[1] not in (1, 3) or find_spec(WEIGHTS_PACKAGE) is None:
        return 0.0
    network = _InstalledNetwork.of(device)
    rows = pixels[: 2 * images_at_once(device)]
    into = torch.empty(len(rows), 1, network.backbone.out_features, dtype=torch.float16)
    network.extract(rows, into, 0, lambda done: None)  # warms up
    since = time.perf_counter()
    network.extract(rows, into, 0, lambda done: None)
    return (time.perf_counter() - since) / len(rows)


@dataclass(frozen=True)
class _InstalledNetwork:
    """The pretrained network that is installed with dalib, and where its features are kept for the next run."""

    backbone: PretrainedBackbone
    weights: str
    device: torch.device
    store: FeatureStore

    @classmethod
    def of(cls, device: torch.device) -> _InstalledNetwork:
        with torch.random.fork_rng(devices=[]):  # the weights that are loaded take the place of random ones
            backbone = PretrainedBackbone(SHORT_NAMES["lite0"]["backbone"], size=PIXELS)
        load_weights(backbone, locate_weights(SHORT_NAMES["lite0"]["weights"]), "position")
        weights = weights_fingerprint(backbone.state_dict())
        return cls(backbone.to(device).eval(), weights, device, FeatureStore(features_folder()))

    def features(self, rows: Rows, source: str) -> Tensor:
        """Returns features (N, D) float32 of rows (C, H, W) uint8; those that are kept are not computed again."""
        key = features_key(rows, self.weights, "judgement", PIXELS)
        shape = (len(rows), 1, self.backbone.out_features)
        with CountedProgress(f"features of {in_short(source)}", brief=True) as progress:

            def extract(into: Tensor, start: int, on_batch: Callable[[int], None]) -> None:
                def counted(done: int) -> None:
                    on_batch(done)
                    progress(done, len(rows))

                self.extract(rows, into, start, counted)

            return self.store.features(key, shape, extract, source=source)[:, 0].float()

    def extract(self, rows: Rows, into: Tensor, start: int, on_batch: Callable[[int], None]) -> None:
        """Computes the features of rows from number ``start`` on into (N, 1, D) float16."""
        batch = images_at_once(self.device)
        quick = kept_fastest(self.backbone, (batch, 3, PIXELS, PIXELS), self.store.folder)
        extract_features(
            quick,
            rows,
            (self._seen,),
            device=self.device,
            seed=SEED,
            batch=batch,
            begun=(into, start),
            on_batch=on_batch,
        )

    def _seen(self, images: Tensor, generator: Generator) -> Tensor:
        """Returns the network's input of images (B, C, H, W) uint8; nothing is random."""
        trained = pretrained_settings(SHORT_NAMES["lite0"]["backbone"])
        mean, std = (torch.tensor(each, device=images.device)[:, None, None] for each in (trained.mean, trained.std))
        values = images.float().expand(-1, 3, -1, -1) / 255
        values = torch.nn.functional.interpolate(values, (PIXELS, PIXELS), mode="bilinear", antialias=True)
        return (values - mean) / std
