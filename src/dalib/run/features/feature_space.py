"""Training on features of a frozen backbone in place of images: what differs from training on images, in one place."""

from __future__ import annotations

import copy
import math
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

import torch

from dalib.augment.stored import Standardized
from dalib.augment.views import normalized_as
from dalib.core.console import CountedProgress
from dalib.core.deviations import to_divide_by
from dalib.core.errors import Setting, UserError
from dalib.core.words import counted
from dalib.data.rows import Selected, SideBySide
from dalib.engine.features import FeatureStore, extract_features, features_key, weights_fingerprint
from dalib.models.averaged import FixedWarps
from dalib.models.classifier import ImageClassifier
from dalib.models.domain_statistics import mixed_statistics, normalisation_statistics, with_statistics
from dalib.models.joined import JoinedBackbone
from dalib.run.features.fastest import images_at_once, kept_fastest, to_pooled
from dalib.run.features.inputs import feature_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Generator, Tensor, nn

    from dalib.core.types import Augment
    from dalib.data.preprocessing import Preprocessing
    from dalib.data.rows import Rows
    from dalib.models.architecture import Architecture
    from dalib.models.inference import FastInference
    from dalib.run.features.fastest import Precision
    from dalib.run.features.inputs import Inputs, StandardizedViews
    from dalib.run.settings.backbones import StatisticsShare

JOINED_SHARE = 0.3
"""The share of a domain's own batch-normalisation statistics that JOINED takes."""

MOST_COPIED = 2**30
"""Bytes of joined features that are copied into memory; more are put together when they are read."""

MOST_KEPT = 64
"""Views of an image among which one is looked for."""

FEWEST_FOR_STATISTICS, MOST_FOR_STATISTICS = 16, 512
"""Images of a domain that its own batch-normalisation statistics are computed on."""

STATISTICS_BATCH = 64  # each layer of a batch is normalised by the batch's own mixture; more take more memory

SEED = 0  # of the stored views: the same for all runs, so that runs of several seeds share them


@dataclass(eq=False)
class Frozen:
    """A frozen network as it is called: a backbone with the pooling behind it, or the trunk of one.

    It remembers the fastest way to call it, once that was needed.

    Attributes:
        network: what is called.
        named_by: the part of it whose weights name what it computes.
        layers: the description of its layers, likewise.
        shape: shape of what it computes of an image, (D,) of features.
        images: shape of a batch of images, (B, C, H, W).
        folder: where the fastest way to call it is noted.
        precision: number type of its forward passes; the weights stay as they are.
    """

    network: nn.Module
    named_by: nn.Module
    layers: str
    shape: tuple[int, ...]
    images: tuple[int, int, int, int]
    folder: Path
    precision: Precision

    @classmethod
    def pooled(
        cls,
        network: ImageClassifier,
        preprocessing: Preprocessing,
        folder: Path,
        device: torch.device,
        precision: Precision,
    ) -> Frozen:
        """Returns the backbone of a classifier with the pooling behind it."""
        size, width = preprocessing.input_size, cast("int", network.backbone.out_features)
        images = (images_at_once(device), preprocessing.channels, size, size)
        layers = repr((network.backbone, network.pool_layer))
        return cls(to_pooled(network), network.backbone, layers, (width,), images, folder, precision)

    def of_trunk(self, trunk: nn.Module, device: torch.device) -> Frozen:
        """Returns a trunk of the backbone, which gives maps."""
        with torch.no_grad():
            shape = tuple(trunk(torch.zeros(1, *self.images[1:], device=device)).shape[1:])
        return Frozen(trunk, trunk, repr(trunk), shape, self.images, self.folder, self.precision)

    @cached_property
    def weights(self) -> str:
        """The hash of the weights that name what it computes."""
        return weights_fingerprint(self.named_by.state_dict())

    @cached_property
    def fast(self) -> FastInference:
        """The fastest way to call it; found when first needed, because trying ways takes seconds."""
        return kept_fastest(self.network, self.images, self.folder, self.precision)


@dataclass(frozen=True)
class Averaged:
    """The views of an image that predictions are the mean over.

    Attributes:
        count: number of fixed warps (:class:`dalib.models.averaged.FixedWarps`); 0 is the plain image alone.
        mirrors: whether every other one also mirrors.
    """

    count: int = 0
    mirrors: bool = True

    @classmethod
    def of(cls, architecture: Architecture) -> Averaged:
        """Returns the views of a network."""
        return cls(architecture.averaged_views, architecture.mirrors)

    def views(self, preprocessing: Preprocessing, device: torch.device) -> tuple[Augment, ...]:
        """Makes the views of images on a device."""
        warps = FixedWarps(self.count, flip=self.mirrors).to(device) if self.count else None
        return tuple(_Plain(preprocessing.normalize, warps, each) for each in range(self.count or 1))


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """The pooled features of a network's frozen backbone, and the way back to a whole network.

    Attributes:
        network: backbone with its weights; what follows it is trained elsewhere.
        preprocessing: how rows become its input.
        store: where features are kept.
        device: where the backbone computes.
        frozen: what computes the features: the whole backbone, or a trunk whose maps take their place.
        averaged: the views of each image that predictions are the mean over.
        plain_views: these views.
        parts: of several backbones, the space of each, whose features are kept by themselves; empty for one.
        other_source: the space of the source's features, where each domain has batch-normalisation statistics of its
            own; None where it is this one.
        process: number of the process whose part of the features it computes, and how many there are.
    """

    network: ImageClassifier
    preprocessing: Preprocessing
    store: FeatureStore
    device: torch.device
    frozen: Frozen
    averaged: Averaged
    plain_views: tuple[Augment, ...]
    parts: tuple[FeatureSpace, ...] = ()
    other_source: FeatureSpace | None = None
    process: tuple[int, int] = (0, 1)

    def of_trunk(self, trunk: nn.Module) -> FeatureSpace:
        """Returns the space of the maps that a trunk of the backbone gives, whose last stages are trained."""
        frozen = self.frozen.of_trunk(trunk, self.device)
        return replace(self, frozen=frozen, parts=(), other_source=None, process=(0, 1))

    @property
    def of_source(self) -> FeatureSpace:
        """The space of the source's features."""
        return self if self.other_source is None else self.other_source

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what it computes of an image, (D,) of features."""
        return self.frozen.shape

    @property
    def batch(self) -> int:
        """Images that the backbone takes at once."""
        return self.frozen.images[0]

    def compute(self, inputs: Tensor) -> Tensor:
        """Returns the features (B, D) of inputs of the network (B, C, H, W), by the fastest way to call it."""
        return self.frozen.fast(inputs)

    @classmethod
    def of(
        cls,
        network: ImageClassifier,
        preprocessing: Preprocessing,
        folder: Path,
        device: torch.device,
        averaged: Averaged,
        precision: Precision = "float32",
    ) -> FeatureSpace:
        """Returns the space of a network, and of each of several joined backbones; arguments as the attributes.

        Args:
            folder: where features are kept.
        """
        parts = tuple(
            cls.of(each, own, folder, device, averaged, precision) for each, own in _separate(network, preprocessing)
        )
        network = network.to(device).eval()
        frozen, store = Frozen.pooled(network, preprocessing, folder, device, precision), FeatureStore(folder)
        views = averaged.views(preprocessing, device)
        return cls(network, preprocessing, store, device, frozen, averaged, views, parts)

    def of_domains(self, source: Rows | None, target: Rows, share: StatisticsShare) -> FeatureSpace:
        """Returns the space of the target's features with each domain's own batch-normalisation statistics mixed in.

        Args:
            source, target: images. The source may be missing, where its features are not computed.
            share: of each domain's own statistics, above 0; the rest are the network's. JOINED is of a network that
                has each backbone twice: the second half of them takes JOINED_SHARE, the first half keeps the network's.
        """
        of_source = None if source is None else self.with_statistics_of(source, share, "source")
        return self.with_statistics_of(target, share, "target", of_source)

    def with_statistics_of(
        self, rows: Rows, share: StatisticsShare, domain: str, of_source: FeatureSpace | None = None
    ) -> FeatureSpace:
        """Returns the space with a share of the statistics of one domain's images; see :meth:`of_domains`."""
        network = copy.deepcopy(self.network)
        if isinstance(share, str):
            statistics = self._statistics_of_second_half(rows, domain)
        else:
            statistics = self.statistics_of(rows, share, domain)
        network.backbone = with_statistics(network.backbone, statistics)
        space = FeatureSpace.of(
            network, self.preprocessing, self.store.folder, self.device, self.averaged, self.frozen.precision
        )
        return replace(space, other_source=of_source)

    def _statistics_of_second_half(self, rows: Rows, domain: str) -> dict[str, Tensor]:
        """Returns the statistics of joined backbones, the second half of which take JOINED_SHARE of a domain's."""
        backbone = self.network.backbone
        statistics = normalisation_statistics(backbone)
        for number in range(len(self.parts) // 2, len(self.parts)):
            part = self.parts[number]
            own = part.statistics_of(rows, JOINED_SHARE, domain)
            joined = [name for name in statistics if name.startswith(f"members.{number}.")]
            alone = normalisation_statistics(part.network.backbone)  # in the same order, which kept ones are not in
            statistics |= {name: own[each] for name, each in zip(joined, alone, strict=True)}
        return statistics

    def statistics_of(
        self, rows: Rows, share: float, domain: str, most: int = MOST_FOR_STATISTICS
    ) -> dict[str, Tensor]:
        """Returns the backbone's statistics with a share of those of images (N, C, H, W) mixed in, on the CPU.

        They are of plain views, computed once in float32, and kept: features are keyed by them, and another number of
        threads would change their last bits.

        Args:
            rows: images, in any order.
            share: of the images' statistics.
            domain: names whose they are, in errors and in the progress.
            most: images at most that are taken, at random.

        Raises:
            UserError: too few images.
        """
        require_enough_for_statistics(len(rows), share, domain)
        # shuffled, because each batch is to hold images of all classes
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED))[:most]
        chosen = rows[order]
        backbone = self.network.backbone
        weights = weights_fingerprint(backbone.state_dict())
        key = features_key(chosen, weights, repr(backbone), self.preprocessing, "domain statistics", share)

        def compute() -> dict[str, Tensor]:
            batches = torch.tensor_split(chosen, -(-len(chosen) // STATISTICS_BATCH))  # of about equal size
            with CountedProgress(f"statistics of {domain} images", brief=True) as progress:
                return mixed_statistics(backbone, self._normalised(batches, progress), share)

        return self.store.tensors(key, compute, source=f"the {domain}, statistics with share {share:g}")

    def _normalised(self, batches: Sequence[Tensor], progress: Callable[[int, int], None]) -> Iterator[Tensor]:
        done, total = 0, sum(map(len, batches))
        for batch in batches:
            yield self.preprocessing.normalize(batch.to(self.device))
            done += len(batch)
            progress(done, total)

    def for_process(self, number: int, among: int) -> FeatureSpace:
        """Returns a space that computes the part of one of several processes of a machine, and keeps it.

        It gives no features; once all processes are done, this space finds them whole.
        """
        parts = tuple(part.for_process(number, among) for part in self.parts)
        other = None if self.other_source is None else self.other_source.for_process(number, among)
        return replace(self, parts=parts, other_source=other, process=(number, among))

    def prepare(self) -> None:
        """Finds the fastest way to call each backbone, which other processes of the machine then find noted."""
        for each in self.parts or (self, self.of_source):
            each.frozen.fast  # noqa: B018 - a cached property

    def plain(self, rows: Rows, source: str, on_progress: Callable[[int, int], None] | None = None) -> Rows:
        """Features (N, V, D) float16 of the views that predictions are made of."""
        if self.parts:
            return self._joined(lambda part, progress: part.plain(rows, source, progress), on_progress)
        return self._features(rows, dict(enumerate(self.plain_views)), repr(self.plain_views), source, on_progress)

    def random(
        self,
        rows: Rows,
        view: Augment,
        count: int,
        source: str,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Rows:
        """Features (N, count, D) float16 of random views; several backbones see the same ones."""
        if self.parts:
            return self._joined(
                lambda part, progress: part.random(rows, part.own_view(view), count, source, progress), on_progress
            )
        return self._features(rows, dict.fromkeys(range(count), view), repr(view), source, on_progress)

    def random_one(
        self,
        rows: Rows,
        view: Augment,
        number: int,
        source: str,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Rows:
        """Features (N, 1, D) float16 of one random view: the same as that of this number in :meth:`random`.

        It is kept by itself until :meth:`random_of_ones` puts the views together.
        """
        if self.parts:
            return self._joined(
                lambda part, progress: part.random_one(rows, part.own_view(view), number, source, progress), on_progress
            )
        return self._one(rows, view, number, source, on_progress)

    def random_of_ones(self, rows: Rows, view: Augment, count: int, source: str) -> Rows:
        """Returns what :meth:`random` does, of views that :meth:`random_one` computed; these are not kept twice."""
        if self.parts:
            return self._joined(
                lambda part, _: part.random_of_ones(rows, part.own_view(view), count, source), on_progress=None
            )
        if count == 1:
            return self.random(rows, view, 1, source)

        shape, described = (len(rows), count, *self.shape), repr(view)
        keys = [self._key(rows, described, 1, number) for number in range(count)]  # each reads all rows

        def copied(into: Tensor, start: int, on_batch: Callable[[int], None]) -> None:
            for number, key in enumerate(keys):
                one = self.store.kept(key, (len(rows), 1, *self.shape))
                if one is None:
                    one = self._one(rows, view, number, source)
                into[start:, number] = one[start:, 0]
            on_batch(len(rows))

        features = self.store.features(self._key(rows, described, count), shape, copied, source=source)
        with suppress(OSError):  # another run with a time limit computes one of them just now, and removes it later
            self.store.remove(keys)
        return features

    def _one(
        self,
        rows: Rows,
        view: Augment,
        number: int,
        source: str,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        whole = self._kept_with(rows, view, number)
        if whole is not None:
            return whole[:, number : number + 1]
        return self._features(rows, {number: view}, repr(view), source, on_progress)

    def _kept_with(self, rows: Rows, view: Augment, number: int) -> Tensor | None:
        """Returns features (N, V, D) that are kept and among whose views this number is; None where none are."""
        sizes = self.store.sizes()
        for count in range(max(2, number + 1), MOST_KEPT + 1):
            shape = (len(rows), count, *self.shape)
            if 2 * math.prod(shape) in sizes:
                found = self.store.kept(self._key(rows, repr(view), count), shape)
                if found is not None:
                    return found
        return None

    def own_view(self, view: Augment) -> Augment:
        """Returns a view of the joined backbones as one of them takes it, normalised by its own mean and deviation."""
        return normalized_as(view, self.preprocessing)

    def _joined(
        self,
        of_part: Callable[[FeatureSpace, Callable[[int, int], None]], Rows],
        on_progress: Callable[[int, int], None] | None,
    ) -> Rows:
        """Returns the features of all parts side by side; the progress counts each image once a part."""
        found = []
        for number, part in enumerate(self.parts):

            def progress(done: int, count: int, before: int = number) -> None:
                if on_progress is not None:
                    on_progress(before * count + done, len(self.parts) * count)

            found.append(of_part(part, progress))
        joined, rows = SideBySide(found), torch.arange(len(found[0]))
        return joined[rows] if len(rows) * joined[rows[:1]].nbytes < MOST_COPIED else joined

    @property
    def width(self) -> int:
        """D, the number of features."""
        return cast("int", self.network.backbone.out_features)

    def inputs(self, architecture: Architecture, standardized: StandardizedViews | None = None) -> Inputs:
        """Returns the inputs of a head that is trained on these features (``features.inputs.feature_inputs``)."""
        return feature_inputs(architecture, self.width, standardized)

    def whole(self, head: nn.Module, of_target: Standardized | None) -> ImageClassifier:
        """Returns a network that takes images, with what was trained on features; it shares the backbone's weights."""
        backbone = self.network.backbone
        network = copy.deepcopy(self.network, {id(backbone): backbone})
        network.load_state_dict(head.state_dict(), strict=False)
        if of_target is not None:
            network.set_feature_statistics(of_target.mean, of_target.std)
        return network

    @staticmethod
    def without_backbone(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns those of a whole network's weights that a head has."""
        return {name: tensor for name, tensor in state.items() if not name.startswith("backbone.")}

    def _features(
        self,
        rows: Rows,
        views: Mapping[int, Augment],
        described: str,
        source: str,
        on_progress: Callable[[int, int], None] | None,
    ) -> Tensor:
        count = len(rows)

        def extract(into: Tensor, start: int, on_batch: Callable[[int], None]) -> None:
            def done(number: int) -> None:
                on_batch(number)
                if on_progress is not None:
                    on_progress(number, count)

            extract_features(
                self.frozen.fast,
                rows if len(into) == count else Selected(rows, torch.arange(len(into))),
                views,
                device=self.device,
                seed=SEED,
                batch=self.batch,
                begun=(into, start),
                on_batch=done,
            )

        key = self._key(rows, described, len(views), next(iter(views)))
        shape = (count, len(views), *self.shape)
        if self.process[1] > 1:
            self.store.extract_part(key, shape, extract, source=source, process=self.process, batch=self.batch)
            return torch.empty((0, *shape[1:]), dtype=torch.float16)  # nobody may use a part
        return self.store.features(key, shape, extract, source=source)

    def _key(self, rows: Rows, described: str, views: int, first: int = 0) -> str:
        """Returns the key of the features of so many views from this number on, which are described as one."""
        # weights alone do not name a network: EfficientNet and TensorFlow's share theirs, and differ in padding
        frozen = self.frozen
        rounded = () if frozen.precision == "float32" else (frozen.precision,)  # keys of float32 stay what they were
        by_itself = (f"view {first}",) if first else ()  # likewise
        more = (*rounded, *by_itself)
        return features_key(rows, frozen.weights, frozen.layers, self.preprocessing, described, views, SEED, *more)

    def lacking(self, rows: Rows, view: Augment | None = None, count: int = 0) -> int:
        """Returns the bytes that the disk has to take for :meth:`plain` of these rows, or :meth:`random` of a view."""
        described, views = (repr(self.plain_views), len(self.plain_views)) if view is None else (repr(view), count)
        size = 2 * len(rows) * views * math.prod(self.shape)
        return 0 if self.store.has_place(self._key(rows, described, views), size) else size


def require_enough_for_statistics(count: int, share: StatisticsShare, domain: str) -> None:
    """Refuses so few images of a domain that it cannot have batch-normalisation statistics of its own.

    Raises:
        UserError: that.
    """
    if count < FEWEST_FOR_STATISTICS:
        raise UserError(
            Setting("model.domain_statistics", share),
            f": the {domain} has {counted(count, 'image')}, too few for statistics of its own; expected at least "
            f"{FEWEST_FOR_STATISTICS}, or ",
            Setting("model.domain_statistics", 0),
        )


def _separate(network: ImageClassifier, preprocessing: Preprocessing) -> list[tuple[ImageClassifier, Preprocessing]]:
    """Returns each of several joined backbones in a network of its own, with its preprocessing; empty for one."""
    joined = network.backbone
    if not isinstance(joined, JoinedBackbone):
        return []
    return [
        (
            ImageClassifier(backbone, 1, None, pool_layer=network.pool_layer),
            replace(preprocessing, mean=own.mean, std=own.std),
        )
        for backbone, own in zip(joined.separate(), joined.inputs, strict=True)
    ]


@dataclass(frozen=True)
class _Plain:
    """Normalised, and seen through one of the fixed warps if there are any."""

    normalize: Callable[[Tensor], Tensor]
    warps: FixedWarps | None = None
    number: int = 0

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        values = self.normalize(images)
        return values if self.warps is None else self.warps(values, self.number)

    def __repr__(self) -> str:  # names the features on disk, beside the preprocessing; no address in memory
        straight = "" if self.warps is None or self.warps.flip else ", none mirrored"
        return f"plain {self.number} of {0 if self.warps is None else len(self.warps)}{straight}"


def standardization(features: Rows, device: torch.device) -> Standardized:
    """Returns the standardisation by mean and deviation (D,) over images and views of features (N, V, D), on a device.

    Some rows at a time, in float64: in one piece they would take twice the memory of what is stored.
    """

    def mean_of(change: Callable[[Tensor], Tensor]) -> Tensor:
        parts = torch.split(torch.arange(len(features)), 4096)
        sums = [change(one_by_one(features[part]).double()).mean(dim=0) * len(part) for part in parts]
        return torch.stack(sums).sum(dim=0) / len(features)

    mean = mean_of(lambda values: values)
    deviation = mean_of(lambda values: (values - mean).square()).sqrt()
    return Standardized(mean.float().to(device), to_divide_by(deviation.float()).to(device))


def one_by_one(features: Tensor) -> Tensor:
    """Returns views (N, V, D) as (N V, D) float32: each as an image of its own."""
    return features.flatten(0, 1).float()
