"""Training on features of a frozen backbone in place of images: what differs from training on images, in one place."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import math
import platform
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from dalib.augment.stored import Standardized
from dalib.augment.views import normalized_as
from dalib.core.console import CountedProgress, say
from dalib.core.errors import Setting, UserError
from dalib.core.files import read_json, write_json
from dalib.data.cache import default_cache_folder, writable_cache_folder
from dalib.data.rows import Selected, SideBySide
from dalib.engine.features import FeatureStore, extract_features, features_key, weights_fingerprint
from dalib.models.averaged import FixedWarps
from dalib.models.classifier import ImageClassifier
from dalib.models.domain_statistics import mixed_statistics, normalisation_statistics, with_statistics
from dalib.models.inference import FastInference, fast_inference, gain_of_bfloat16
from dalib.models.joined import JoinedBackbone
from dalib.run.inputs import feature_inputs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from torch import Generator, Tensor, nn

    from dalib.core.types import Augment
    from dalib.data.preprocessing import Preprocessing
    from dalib.data.rows import Rows
    from dalib.run.backbones import Share
    from dalib.run.inputs import Inputs, StandardizedViews

Precision = Literal["float32", "bfloat16"]

SHARE = 0.3
"""The share of a domain's own batch-normalisation statistics that JOINED takes."""

MOST_COPIED = 2**30
"""Bytes of joined features that are copied into memory; more are put together when they are read."""

MOST_KEPT = 64
"""Views of an image among which one is looked for."""

_NOTES = "fastest.json"  # in the store's folder: choices that were measured

FEWEST_FOR_STATISTICS, MOST_FOR_STATISTICS = 16, 512
"""Images of a domain that its own batch-normalisation statistics are computed on."""

STATISTICS_BATCH = 64  # each layer of a batch is normalised by the batch's own mixture; more take more memory

SEED = 0  # of the stored views: the same for all runs, so that runs of several seeds share them


class FeatureSpace:
    """The pooled features of a network's frozen backbone, and the way back to a whole network.

    Attributes:
        network: backbone with its weights; what follows it is trained elsewhere.
        preprocessing: how rows become its input.
        store: where features are kept.
        device: where the backbone computes.
        trunk: the part of the backbone whose maps take the place of features (:meth:`of_trunk`); None where features
            are those of the whole backbone, pooled.
        shape: shape of what it computes of an image, (D,) of features.
        plain_views: what predictions are the mean over.
        precision: number type of the backbone's forward passes; the weights of ``network`` stay as they are.
        parts: of several backbones, the space of each, whose features are kept by themselves; empty for one.
        of_source: the space of the source's features, where each domain has batch-normalisation statistics of its own;
            otherwise this one.
    """

    def __init__(
        self,
        network: ImageClassifier,
        preprocessing: Preprocessing,
        store: FeatureStore,
        device: torch.device,
        plain_views: tuple[Augment, ...],
        precision: Precision = "float32",
        parts: tuple[FeatureSpace, ...] = (),
        of_source: FeatureSpace | None = None,
    ) -> None:
        self.network, self.preprocessing, self.store = network, preprocessing, store
        self.device, self.plain_views, self.precision, self.parts = device, plain_views, precision, parts
        self.of_source = self if of_source is None else of_source
        self.trunk: nn.Module | None = None
        self.shape: tuple[int, ...] = (self.width,)
        self.share = (0, 1)

    def of_trunk(self, trunk: nn.Module) -> FeatureSpace:
        """Returns the space of the maps that a trunk of the backbone gives, whose last stages are trained."""
        space = FeatureSpace(
            self.network, self.preprocessing, self.store, self.device, self.plain_views, self.precision
        )
        channels, size = self.preprocessing.channels, self.preprocessing.input_size
        with torch.no_grad():
            space.shape = tuple(trunk(torch.zeros(1, channels, size, size, device=self.device)).shape[1:])
        space.trunk = trunk
        return space

    @cached_property
    def batch(self) -> int:
        """Images that the backbone takes at once."""
        return images_at_once(self.device)

    @cached_property
    def _fast(self) -> FastInference:
        """The fastest way to call the backbone; found when first needed, because trying ways takes seconds."""
        size, channels = self.preprocessing.input_size, self.preprocessing.channels
        shape = (self.batch, channels, size, size)
        frozen = _to_pooled(self.network) if self.trunk is None else self.trunk
        return kept_fastest(frozen, shape, self.store.folder, self.precision)

    def compute(self, inputs: Tensor) -> Tensor:
        """Returns the features (B, D) of inputs of the network (B, C, H, W), by the fastest way to call it."""
        return self._fast(inputs)

    @classmethod
    def of(
        cls,
        network: ImageClassifier,
        preprocessing: Preprocessing,
        folder: Path,
        device: torch.device,
        averaged_views: int,
        precision: Precision = "float32",
    ) -> FeatureSpace:
        """Predictions are of plain images, or the mean over so many fixed warps."""
        views: list[Augment] = [_Plain(preprocessing.normalize)]
        if averaged_views:
            warps = FixedWarps(averaged_views, flip=True).to(device)
            views = [_Plain(preprocessing.normalize, warps, number) for number in range(averaged_views)]
        parts = tuple(
            cls.of(each, own, folder, device, averaged_views, precision)
            for each, own in _separate(network, preprocessing)
        )
        return cls(
            network.to(device).eval(), preprocessing, FeatureStore(folder), device, tuple(views), precision, parts
        )

    def of_domains(self, source: Rows | None, target: Rows, share: Share) -> FeatureSpace:
        """Returns the space of the target's features with each domain's own batch-normalisation statistics mixed in.

        Args:
            source, target: images. The source may be missing, where its features are not computed.
            share: of each domain's own statistics, above 0; the rest are the network's. JOINED is of a network that
                has each backbone twice: the second half of them takes SHARE, the first half keeps the network's.
        """
        of_source = None if source is None else self.with_statistics_of(source, share, "source")
        return self.with_statistics_of(target, share, "target", of_source)

    def with_statistics_of(
        self, rows: Rows, share: Share, domain: str, of_source: FeatureSpace | None = None
    ) -> FeatureSpace:
        """Returns the space with a share of the statistics of one domain's images; see :meth:`of_domains`."""
        network = copy.deepcopy(self.network)
        if isinstance(share, str):
            statistics = self._statistics_of_second_half(rows, domain)
        else:
            statistics = self.statistics_of(rows, share, domain)
        network.backbone = with_statistics(network.backbone, statistics)
        warps = self.plain_views[0].warps if isinstance(self.plain_views[0], _Plain) else None
        views = 0 if warps is None else len(warps)
        space = FeatureSpace.of(network, self.preprocessing, self.store.folder, self.device, views, self.precision)
        space.of_source = space if of_source is None else of_source
        return space

    def _statistics_of_second_half(self, rows: Rows, domain: str) -> dict[str, Tensor]:
        """Returns the statistics of joined backbones, the second half of which take SHARE of a domain's."""
        backbone = self.network.backbone
        statistics = normalisation_statistics(backbone)
        for number in range(len(self.parts) // 2, len(self.parts)):
            part = self.parts[number]
            own = part.statistics_of(rows, SHARE, domain)
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
            domain: says whose they are, in errors and in the progress.
            most: images at most that are taken, at random.

        Raises:
            UserError: too few images.
        """
        if len(rows) < FEWEST_FOR_STATISTICS:
            raise UserError(
                Setting("model.domain_statistics", share),
                f": the {domain} has {len(rows)} images, too few for statistics of its own; expected at least "
                f"{FEWEST_FOR_STATISTICS}, or ",
                Setting("model.domain_statistics", 0),
            )
        # shuffled, because each batch is to hold images of all classes
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(SEED))[:most]
        chosen = rows[order]
        backbone = self.network.backbone
        weights = weights_fingerprint(backbone.state_dict())
        key = features_key(chosen, weights, repr(backbone), self.preprocessing, "domain statistics", share)

        def compute() -> dict[str, Tensor]:
            batches = torch.tensor_split(chosen, -(-len(chosen) // STATISTICS_BATCH))  # of about equal size
            with CountedProgress(f"statistics of the {domain}") as progress:
                return mixed_statistics(backbone, self._normalised(batches, progress), share)

        return self.store.tensors(key, compute, source=f"the {domain}, statistics with share {share:g}")

    def _normalised(self, batches: Sequence[Tensor], progress: Callable[[int, int], None]) -> Iterator[Tensor]:
        done, total = 0, sum(map(len, batches))
        for batch in batches:
            yield self.preprocessing.normalize(batch.to(self.device))
            done += len(batch)
            progress(done, total)

    def for_share(self, number: int, among: int) -> FeatureSpace:
        """Returns a space that computes the part of one of several processes of a machine, and keeps it.

        It gives no features; once all processes are done, this space finds them whole.
        """
        shared = copy.copy(self)
        shared.parts = tuple(part.for_share(number, among) for part in self.parts)
        shared.share = (number, among)
        shared.of_source = shared if self.of_source is self else self.of_source.for_share(number, among)
        return shared

    def prepare(self) -> None:
        """Finds the fastest way to call each backbone, which other processes of the machine then find noted."""
        for each in self.parts or (self, self.of_source):
            each._fast  # noqa: B018 - a cached property

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
        return self._features(rows, _numbered(view, count), repr(view), source, on_progress)

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

    def inputs(self, architecture: dict[str, Any], standardized: StandardizedViews | None = None) -> Inputs:
        """Returns the inputs of a head that is trained on these features; see :func:`feature_inputs`."""
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

        def extract(into: Tensor, start: int, end: int, on_batch: Callable[[int], None]) -> None:
            def done(number: int) -> None:
                on_batch(number)
                if on_progress is not None:
                    on_progress(number, count)

            extract_features(
                self._fast,
                rows if end == count else Selected(rows, torch.arange(end)),
                views,
                device=self.device,
                seed=SEED,
                batch=self.batch,
                begun=(into[:end], start),
                on_batch=done,
            )

        def extract_rest(into: Tensor, start: int, on_batch: Callable[[int], None]) -> None:
            extract(into, start, count, on_batch)

        key = self._key(rows, described, len(views), next(iter(views)))
        shape = (count, len(views), *self.shape)
        if self.share[1] > 1:
            self.store.extract_share(key, shape, extract, source=source, share=self.share, batch=self.batch)
            return torch.empty((0, *shape[1:]), dtype=torch.float16)  # nobody may use a part
        return self.store.features(key, shape, extract_rest, source=source)

    def _key(self, rows: Rows, described: str, views: int, first: int = 0) -> str:
        """Returns the key of the features of so many views from this number on, which are described as one."""
        # weights alone do not name a network: EfficientNet and TensorFlow's share theirs, and differ in padding
        layers = repr((self.network.backbone, self.network.pool_layer) if self.trunk is None else self.trunk)
        weights = weights_fingerprint((self.network.backbone if self.trunk is None else self.trunk).state_dict())
        rounded = () if self.precision == "float32" else (self.precision,)  # keys of float32 stay what they were
        by_itself = (f"view {first}",) if first else ()  # likewise
        return features_key(rows, weights, layers, self.preprocessing, described, views, SEED, *rounded, *by_itself)

    def lacking(self, rows: Rows, view: Augment | None = None, count: int = 0) -> int:
        """Returns the bytes that the disk has to take for :meth:`plain` of these rows, or :meth:`random` of a view."""
        described, views = (repr(self.plain_views), len(self.plain_views)) if view is None else (repr(view), count)
        size = 2 * len(rows) * views * math.prod(self.shape)
        return 0 if self.store.has_place(self._key(rows, described, views), size) else size


def precision_named(setting: str) -> Precision:
    """Returns the number type of a run's features; where none was chosen, it is float32."""
    return "bfloat16" if setting == "bfloat16" else "float32"


def gain_of_rounding(network: ImageClassifier, preprocessing: Preprocessing, folder: Path | None = None) -> float:
    """Returns how many times as fast a CPU computes features in bfloat16; 1 where float32 is to be kept.

    Args:
        network: its backbone is measured, on the CPU.
        preprocessing: gives the size of its input.
        folder: where features are kept, and with them what was measured: once on a machine. None measures anew.
    """
    size, cpu = preprocessing.input_size, torch.device("cpu")
    model, shape = _to_pooled(network).eval(), (images_at_once(cpu), preprocessing.channels, size, size)
    if folder is None:
        return gain_of_bfloat16(model, shape)
    note, key = folder / _NOTES, _key_of(model, shape, "gain of bfloat16")
    choices = _noted(note)
    if key not in choices:
        choices[key] = round(gain_of_bfloat16(model, shape), 2)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(note, choices)
    return float(choices[key])


def _numbered(view: Augment, count: int) -> dict[int, Augment]:
    """Returns a random view under the numbers that it is drawn by, from 0."""
    return dict.fromkeys(range(count), view)


def _to_pooled(network: ImageClassifier) -> nn.Module:
    return torch.nn.Sequential(network.backbone, network.pool_layer)


def fastest_classifier(network: ImageClassifier, preprocessing: Preprocessing) -> ImageClassifier:
    """Returns a classifier for prediction on a CPU whose backbone is called as where features are computed.

    It shares what follows the backbone with ``network``; its logits are the same to the rounding of float32.
    """
    size, device = preprocessing.input_size, torch.device("cpu")
    shape = (images_at_once(device), preprocessing.channels, size, size)
    fast = _Called(kept_fastest(_to_pooled(network), shape, features_folder()), network.backbone.out_features)
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
    choices = _noted(note)
    known = choices.get(key)
    way = None if known is None else (known["variant"], known["chunk"])
    fast = fast_inference(model, shape, known=way, bfloat16=precision == "bfloat16")
    if known is None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(note, {**choices, key: {"variant": fast.variant, "chunk": fast.chunk}})
    return fast


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


def _key_of(model: nn.Module, shape: tuple[int, int, int, int], *more: str) -> str:
    shapes = [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    what = repr((shapes, shape, torch.__version__, platform.node(), torch.get_num_threads(), *more))
    return hashlib.blake2b(what.encode(), digest_size=8).hexdigest()


def _noted(note: Path) -> dict[str, Any]:
    choices: dict[str, Any] = {}
    with contextlib.suppress(UserError):  # none yet, or damaged: measured anew
        choices = read_json(note)
    return choices


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
        return f"plain {self.number} of {0 if self.warps is None else len(self.warps)}"


def images_at_once(device: torch.device) -> int:
    """Returns how many images a backbone takes at once; on a CPU, fresh memory for more costs more than it saves."""
    return 8 if device.type == "cpu" else 64


def features_folder() -> Path:
    """Returns the folder where features are kept."""
    return writable_cache_folder(default_cache_folder(), say) / "features"


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
    return Standardized(mean.float().to(device), deviation.float().clamp_min(1e-5).to(device))


def one_by_one(features: Tensor) -> Tensor:
    """(N, V, D) -> (N V, D) float32: each view as an image of its own."""
    return features.flatten(0, 1).float()
