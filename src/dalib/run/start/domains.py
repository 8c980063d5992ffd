"""The images of a run: source and target opened, the source split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from dalib.core.console import CountedProgress, say, say_note
from dalib.core.errors import Setting, UserError
from dalib.core.places import in_short
from dalib.core.seeds import derive_seed
from dalib.core.words import UNKNOWN, as_one
from dalib.data.depth import describe_range, likely_range, range_of, ranges_of
from dalib.data.domain_images import LabelledImages, UnlabelledImages
from dalib.data.file_rows import with_whole_numbers
from dalib.data.groups import ImagesToGroup, each_alone, find_groups
from dalib.data.labels import TargetLabels, hold_out, read_target_labels
from dalib.data.listing import Listing
from dalib.data.named import NAMED
from dalib.data.rows import Concatenated, Selected, chosen_rows
from dalib.data.sources import listing_of, open_source, open_target
from dalib.data.split import split_by_groups
from dalib.data.stream import drawn
from dalib.engine.evaluate import of_evaluated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dalib.data.depth import Range, WholeNumbers
    from dalib.data.groups import Groups
    from dalib.data.preprocessing import Preprocessing
    from dalib.data.reading_options import CachePolicy, ReadingOptions
    from dalib.data.rows import Rows
    from dalib.judge.evidence import Evidence
    from dalib.run.start.kit import Drawn, Kit

SMALL = 2**30
"""Bytes of images that may be copied in memory; more are read where they are."""

LABELLED_SHARE = 1 / 8
"""Share of the target among the labelled images of the adaptation's batches, where a few target labels are given."""


@dataclass(frozen=True)
class DataRequest:
    """The images that a run takes, and how they are opened.

    Attributes:
        source: one source or several, by path or by name.
        target: by path or by name.
        target_labels: file of labels of some target images.
        ranges: the values that are black and white in source and target, where they are given.
        validation_share: share of the source kept from training.
        groups: images that belong together, as :func:`dalib.data.groups.find_groups` has it; None knows of none.
        seed: of the validation split.
        batch: images of each domain a step.
        features: random views of each image whose features are trained on; 0 trains on images.
        standardize: features are standardised, each domain by itself.
        kit: what stands in for the source, where no image of it is there.
        strict, root, download, cache: as :class:`dalib.data.reading_options.ReadingOptions` has them.
    """

    source: str | list[str]
    target: str
    target_labels: str | None = None
    ranges: tuple[Range, Range] | None = None
    validation_share: float = 0.1
    groups: str | None = None
    seed: int = 0
    batch: int = 64
    features: int = 0
    standardize: bool = False
    kit: Kit | None = None
    strict: bool = False
    root: str | None = None
    download: bool = False
    cache: CachePolicy = "disk"

    @property
    def sources(self) -> list[str]:
        if self.kit is not None:
            return []
        return [self.source] if isinstance(self.source, str) else self.source

    @property
    def source_name(self) -> str:
        """One name for one source or several."""
        return as_one(self.source)

    def reading(self, on_progress: Callable[[int, int], None] | None = None) -> ReadingOptions:
        """Returns how data are opened."""
        return {
            "strict": self.strict,
            "root": self.root,
            "download": self.download,
            "cache": self.cache,
            "on_progress": on_progress,
            "on_note": say_note,
        }


@dataclass(frozen=True)
class Listings:
    """Files of the sources and of the target, listed once for all that asks for them; None for what is no files."""

    sources: tuple[Listing | None, ...]
    target: Listing | None


@dataclass(frozen=True)
class Domains:
    """The images of a run, the source split into what is trained on and what is kept to validate."""

    train: LabelledImages
    validation: LabelledImages
    target: UnlabelledImages
    """The target's images to train on."""
    to_predict: Rows
    """The target as predictions see it: the same images, or, of features, the views that predictions average."""
    whole: WholeSource | None = None
    """The whole source, where features of it are computed."""
    labels: TargetLabels | None = None
    """Labels of some target images to learn from, where they are given."""
    held_out: TargetLabels | None = None
    """Labels that no training sees, to judge by; None where there are few (:func:`dalib.data.labels.hold_out`)."""
    joined: LabelledImages | None = None
    """Source and labelled target images, on which the adaptation trains where there are labels of the target."""
    drawn: tuple[Drawn, Drawn] | None = None
    """Features in place of training and validation images, where there is a kit in place of the source."""
    ranges: tuple[Range | None, Range | None] = (None, None)
    """The values that are black and white in images of whole numbers beyond 8 bits, of source and target."""

    groups: GroupsOfDomains | None = None
    """Images that belong together, where they are declared."""

    @property
    def range(self) -> Range | None:
        """The range that the models read images with: the target's, or the source's where the target has none."""
        return self.ranges[1] or self.ranges[0]

    def grouped(self, evidence: Evidence) -> Evidence:
        """Returns the evidence with the groups of its images, where some belong together."""
        if self.groups is None:
            return evidence
        of_target = of_evaluated(self.groups.target.numbers, len(evidence.target))
        of_validation = of_evaluated(self.groups.validation, len(evidence.labels)) if len(evidence.labels) else None
        return replace(evidence, validation_groups=of_validation, target_groups=of_target)

    @property
    def train_adapted(self) -> LabelledImages:
        """The labelled images of the adaptation; the source-only model and the judgement keep to ``train``."""
        return self.train if self.joined is None else self.joined


@dataclass(frozen=True)
class GroupsOfDomains:
    """Images of a run that belong together.

    Attributes:
        definition: what defines them, as it was given.
        source, target: of all images of the domain.
        validation: (V,) the groups of the source's validation images.
    """

    definition: str
    source: Groups
    target: Groups
    validation: Tensor


@dataclass(frozen=True)
class WholeSource:
    """The source before it is split, which depends on the seed: what is kept for runs of other seeds is of this."""

    images: Rows
    training_rows: Tensor
    """(N,) int64, the rows that are trained on."""


def open_domains(request: DataRequest, preprocessing: Preprocessing, listings: Listings | None = None) -> Domains:
    """Reads source and target, and keeps a share of the source for validation.

    Args:
        request: names of source and target, and how they are opened.
        preprocessing: how images become rows.
        listings: their files, where they are listed already: of a million files that takes minutes.

    Raises:
        UserError: images or labels that cannot be read or do not fit.
    """
    sources, only_target = _listed(request, listings)
    of_source, of_target = decide_ranges(request, sources, only_target)
    source = None if request.kit is not None else _images_of_source(request, sources, preprocessing, of_source)
    with CountedProgress(f"reading {in_short(request.target)}") as progress:
        target = open_target(
            only_target,
            replace(preprocessing, range=of_target),
            partner=request.source,
            **request.reading(progress),
        )
    groups = None if request.groups is None else _groups(request.groups, request, source, target)
    if source is None:
        assert request.kit is not None
        part = _of_kit(request.kit.for_target(target.images), request, preprocessing)
    else:
        part = _parted(source, None if groups is None else groups[0], request)
    train = part.train
    labels, held_out, joined = None, None, None
    if request.target_labels is not None:
        given = read_target_labels(
            request.target_labels, target.names, train.classes, request.target, argument="target_labels"
        )
        labels, held_out = hold_out(given, request.seed, None if groups is None else groups[1].numbers)
        labels = _of_classes(labels, len(train.classes), request.target_labels)
        if not request.features:  # else they are joined as features
            joined = join_labelled(train, target, labels, chosen_rows(target.images, labels.rows), request.batch)
    return Domains(
        train=train,
        validation=part.validation,
        target=target,
        to_predict=target.images,
        whole=part.whole,
        labels=labels,
        held_out=held_out,
        joined=joined,
        drawn=part.drawn,
        ranges=(of_source, of_target),
        groups=groups and GroupsOfDomains(request.groups or "", *groups, groups[0].numbers[part.validation_rows]),
    )


@dataclass(frozen=True)
class SourceImages:
    """The source's part of :class:`Domains`."""

    train: LabelledImages
    validation: LabelledImages
    validation_rows: Tensor
    whole: WholeSource | None = None
    drawn: tuple[Drawn, Drawn] | None = None


def open_source_alone(request: DataRequest, preprocessing: Preprocessing) -> SourceImages:
    """Reads and splits the source as :func:`open_domains` does.

    The target need not be there, except for a source of more than 8 bits, whose black and white both domains decide.

    Raises:
        UserError: images or labels that cannot be read or do not fit.
    """
    sources = [_with_values(request, each, list_files(request, each, "source")) for each in request.sources]
    target: str | Listing | None = None
    if request.ranges is None and any(isinstance(each, Listing) and each.whole_numbers for each in sources):
        target = _with_values(request, request.target, list_files(request, request.target, "target"))
    of_source, _ = decide_ranges(request, sources, target)
    source, groups = _images_of_source(request, sources, preprocessing, of_source), None
    if request.groups is not None:
        try:
            (groups,) = find_groups(request.groups, [_source_to_group(request, source)])
        except UserError:  # the definition is of the target alone
            groups = each_alone(len(source.labels))
    return _parted(source, groups, request)


def _images_of_source(
    request: DataRequest, sources: list[str | Listing], preprocessing: Preprocessing, range_of_source: Range | None
) -> LabelledImages:
    with CountedProgress(f"reading {in_short(request.source_name)}") as progress:
        return open_source(
            sources,
            replace(preprocessing, range=range_of_source),
            seed=request.seed,
            partner=request.target,
            **request.reading(progress),
        )


def _parted(source: LabelledImages, groups: Groups | None, request: DataRequest) -> SourceImages:
    """Splits the source into images to train on and those to validate on; groups are kept whole."""
    if groups is None:
        training_rows, validation_rows = split(source.labels, request.validation_share, request.seed)
    else:
        training_rows, validation_rows = _split_whole(source.labels, groups, request)
    whole = WholeSource(source.images, training_rows) if request.features else None
    return SourceImages(_rows(source, training_rows), _rows(source, validation_rows), validation_rows, whole)


def _of_kit(kit: Kit, request: DataRequest, preprocessing: Preprocessing) -> SourceImages:
    """Draws features in place of the source's images, which are black squares without memory of their own."""
    views = max(1, request.features)
    drawn = kit.training(views, request.seed), kit.validating(views, request.seed)
    black = torch.zeros(1, preprocessing.channels, preprocessing.size, preprocessing.size, dtype=torch.uint8)

    def images(labels: Tensor, purpose: str) -> LabelledImages:
        names = tuple(f"{kit.header.digest}/{purpose}/{number}" for number in range(len(labels)))
        rows = black.expand(len(labels), -1, -1, -1)
        return LabelledImages(rows, labels, kit.description.classes, names)

    train, validation = images(drawn[0].labels, "drawn"), images(drawn[1].labels, "validation")
    return SourceImages(train, validation, torch.arange(len(validation.labels)), drawn=drawn)


def _groups(
    definition: str, request: DataRequest, source: LabelledImages | None, target: UnlabelledImages
) -> tuple[Groups, Groups]:
    """Returns the groups of source and target, and prints how many there are; images of a kit count for themselves."""
    domains = [ImagesToGroup(f"target {request.target}", (request.target,), target.names, target.images)]
    if source is not None:
        domains.insert(0, _source_to_group(request, source))
    found = find_groups(definition, domains)
    for domain, each in zip(domains, found, strict=True):
        say(each.in_words(domain.what))
    if source is not None:
        return found[0], found[1]
    assert request.kit is not None
    return each_alone(len(request.kit.labels)), found[0]


def _source_to_group(request: DataRequest, source: LabelledImages) -> ImagesToGroup:
    return ImagesToGroup(f"source {request.source_name}", tuple(request.sources), source.names, source.images)


def _split_whole(labels: Tensor, groups: Groups, request: DataRequest) -> tuple[Tensor, Tensor]:
    """Returns the rows to train on and those to validate on; no group has rows among both."""
    share = request.validation_share
    if share == 0:
        return split(labels, share, request.seed)
    training, validation = split_by_groups(labels, groups.numbers, share, derive_seed(request.seed, "validation"))
    if not len(validation):
        raise UserError(
            Setting("groups", request.groups),
            f": the source has {groups.count} groups, and a validation split of whole groups would leave no image of ",
            "some class to train on; give smaller groups, or ",
            Setting("data.validation_share", 0),
            " to validate on none",
        )
    return training, validation


def _of_classes(given: TargetLabels, num_classes: int, file: str) -> TargetLabels:
    """Returns the labels without those of unknown images, which the training learns no class from.

    Raises:
        UserError: no others.
    """
    known = given.labels < num_classes
    if not bool(known.any()):
        raise UserError(
            Setting("target_labels", file), f": all labels are {UNKNOWN!r}; expected some of the source's classes"
        )
    return given if bool(known.all()) else given.taken(known)


def split(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Returns the rows to train on, ascending, and those to validate on, both int64.

    They are drawn at random, but for one image of each class that would have none to train on.

    Args:
        labels: (N,) int64 classes of the rows.
        share: of the rows to validate on.
        seed: equal seeds give equal splits.

    Raises:
        UserError: no image is left to validate on, or none to train on.
    """
    count = len(labels)
    kept = round(count * share)
    if not (0 < kept < count or share == 0):
        raise UserError(
            Setting("data.validation_share", share),
            f": of {count} source images it keeps {kept}; "
            "expected at least one to validate on and one to train on, or 0 to validate on none",
        )
    order = drawn(count, count, derive_seed(seed, "validation"))
    training, validation = order[kept:], order[:kept]
    of_validation = labels[validation]
    lost = [each for each in torch.unique(of_validation).tolist() if not bool((labels[training] == each).any())]
    if lost:
        moved = torch.tensor([int((of_validation == each).nonzero()[0]) for each in lost])
        training, stays = torch.cat([training, validation[moved]]), torch.ones(len(validation), dtype=torch.bool)
        stays[moved] = False
        validation = validation[stays]
        if not len(validation):
            raise UserError(
                Setting("data.validation_share", share),
                f": of {count} source images it would keep the only image of a class; expected ",
                Setting("data.validation_share", 0),
                " to validate on none, or more images",
            )
    return training.sort().values, validation


def list_domains(request: DataRequest) -> Listings:
    """Lists the files of the sources and of the target.

    Raises:
        UserError: files or labels that are not there or do not fit.
    """
    sources = tuple(list_files(request, each, "source") for each in request.sources)
    return Listings(sources, list_files(request, request.target, "target"))


def list_files(request: DataRequest, where: str, argument: Literal["source", "target"]) -> Listing | None:
    """Lists the files of a source or target; returns None for named sets, and for what is no files."""
    if where in NAMED:
        return None
    return listing_of(where, argument=argument, labelled=argument == "source", root=request.root)


def _listed(request: DataRequest, listings: Listings | None) -> tuple[list[str | Listing], str | Listing]:
    """Returns sources and target, as listings where they are files of the user's, with their values beyond 8 bits."""
    files = list_domains(request) if listings is None else listings
    sources = [_with_values(request, *each) for each in zip(request.sources, files.sources, strict=True)]
    return sources, _with_values(request, request.target, files.target)


def _with_values(request: DataRequest, where: str, found: Listing | None) -> str | Listing:
    """Returns a listing with its values beyond 8 bits; what is no listing by its name, such as sets of 8 bits."""
    if found is None:
        return where
    with CountedProgress(f"looking at {where}") as progress:
        return with_whole_numbers(found, request.cache, on_progress=progress)


def decide_ranges(
    request: DataRequest, sources: Sequence[str | Listing], target: str | Listing | None
) -> tuple[Range | None, Range | None]:
    """Decides and prints which values are black and white in source and target; None where all values are of 8 bits.

    Raises:
        UserError: it cannot be decided, and is not given.
    """
    domains = []
    for what, listings in (
        (f"source {request.source_name}", sources),
        (f"target {request.target}", [] if target is None else [target]),
    ):
        files = [each for each in listings if isinstance(each, Listing)]
        found = [each for listing in files for each in listing.whole_numbers or ()]
        domains.append((what, found, sum(len(listing.paths) for listing in files)))
    decided: tuple[Range | None, Range | None]
    if request.ranges is not None:
        decided = request.ranges
        if not any(found for _, found, _ in domains):
            text = "/".join(f"{low},{high}" for low, high in dict.fromkeys(request.ranges))
            say(f"note: {Setting('data.range', text)}: no image is of more than 8 bits, others have no use for it")
    else:
        for what, found, _ in domains:
            _require_range(what, found)
        decided = ranges_of(domains[0][1], domains[1][1])
    for (what, found, count), black_white in zip(domains, decided, strict=True):
        if found and black_white is not None:
            say(f"{what}: {describe_range(found, count, black_white)} ({Setting('data.range')})")
    return decided


def _require_range(what: str, found: Sequence[WholeNumbers]) -> None:
    if not found:
        return
    try:
        range_of(found)
    except ValueError as error:
        low, high = likely_range(found)
        raise UserError(
            Setting("data.range"),
            f": {what}: {error}; from these files alone it cannot be told which values are black and white. Give "
            "them, as in ",
            Setting("data.range"),
            f"={low},{high}, or leave out files that do not belong there",
        ) from None


def repetitions(source: int, labelled: int, batch: int) -> int:
    """Returns how often each labelled target image stands among the source images, at least once.

    So often that LABELLED_SHARE of them are of the target, and none is seen more than about once a batch: a few images
    that are seen again and again are learnt by heart. The share is our choice.

    >>> repetitions(12_000, labelled=50, batch=64), repetitions(12_000, labelled=4, batch=64)
    (34, 200)
    """
    share = min(LABELLED_SHARE, labelled / batch)
    return max(1, round(share / (1 - share) * source / labelled))


def identity_of(domains: Domains) -> str:
    """Returns a digest of the images' names and the source's labels, in their order, and of the ranges."""
    digest = hashlib.blake2b(domains.train.labels.numpy().tobytes(), digest_size=16)
    for name in (*domains.train.names, *domains.validation.names, *domains.target.names):
        digest.update(name.encode(errors="surrogateescape") + b"\0")
    digest.update(repr(domains.ranges).encode())
    return digest.hexdigest()


def join_labelled(
    train: LabelledImages, target: UnlabelledImages, labels: TargetLabels, images: Rows, batch: int
) -> LabelledImages:
    """Returns the source's images and the labelled ones of the target, these repeated.

    Args:
        train: of the source.
        target: all of the target, for the names.
        labels: n of them.
        images: n rows, those of the labels.
        batch: images of each domain a step.
    """
    times = repetitions(len(train.labels), len(labels.rows), batch)
    again = torch.arange(len(labels.rows)).repeat(times)
    parts = [train.images, Selected(images, again)]
    both = Concatenated(parts)
    small = isinstance(train.images, Tensor) and train.images.nbytes < SMALL
    names = tuple(target.names[row] for row in labels.rows[again].tolist())
    return replace(
        train,
        images=both[torch.arange(len(both))] if small else both,
        labels=torch.cat([train.labels, labels.labels[again]]),
        names=(*train.names, *names),
    )


def _rows(labelled: LabelledImages, indices: Tensor) -> LabelledImages:
    names = tuple(labelled.names[index] for index in indices.tolist())
    return replace(labelled, images=taken(labelled.images, indices), labels=labelled.labels[indices], names=names)


def taken(rows: Rows, indices: Tensor) -> Rows:
    """Returns a copy of these rows where they are small, and a selection otherwise."""
    small = isinstance(rows, Tensor) and rows.nbytes < SMALL
    return rows[indices] if small else Selected(rows, indices)
