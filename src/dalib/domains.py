"""The images of a run: source and target opened, the source split, and features in place of images where asked for."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from dalib.console import CountedProgress, say
from dalib.data.rows import Concatenated, Selected, StreamedImages
from dalib.data.sources import LabelledImages, UnlabelledImages, open_source, open_target
from dalib.data.stream import permuted
from dalib.errors import UserError
from dalib.randomness import derive_seed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dalib.build import Inputs
    from dalib.config import TrainConfig
    from dalib.data.preprocessing import Preprocessing
    from dalib.data.sources import Unreadable
    from dalib.data.stream import Rows
    from dalib.feature_space import FeatureSpace
    from dalib.types import Augment

SMALL = 2**30
"""Bytes of images that may be copied in memory; more are read where they are."""


@dataclass(frozen=True)
class Domains:
    """The images of a run, the source split into what is trained on and what is kept to validate."""

    train: LabelledImages
    validation: LabelledImages
    target: UnlabelledImages
    """What is trained on."""
    to_predict: Rows
    """The target as predictions see it: the same images, or, of features, the views that predictions average."""
    whole: WholeSource | None = None
    """Where there are features to be computed."""


@dataclass(frozen=True)
class WholeSource:
    """The source before it is split, which depends on the seed: what is kept for runs of other seeds is of this."""

    images: Rows
    training_rows: Tensor
    """(N,) int64, the rows that are trained on."""


def open_domains(config: TrainConfig, preprocessing: Preprocessing) -> Domains:
    """Read source and target, and keep a share of the source for validation."""
    with CountedProgress(f"reading {name_of(config.source)}", sys.stdout) as progress:
        source = open_source(
            config.source,
            preprocessing,
            seed=config.seed,
            partner=config.target,
            on_progress=progress,
            **where_of(config),
        )
    with CountedProgress(f"reading {config.target}", sys.stdout) as progress:
        target = open_target(
            config.target, preprocessing, partner=config.source, on_progress=progress, **where_of(config)
        )
    count = len(source.labels)
    share = config.data.validation_share
    kept = round(count * share)
    if not (0 < kept < count or share == 0):
        raise UserError(
            f"--data.validation_share {share}: of {count} source images it keeps {kept}; "
            "expected at least one to validate on and one to train on, or 0 to validate on none"
        )
    order = torch.from_numpy(permuted(torch.arange(count).numpy(), count, derive_seed(config.seed, "validation")))
    training_rows = order[kept:].sort().values
    return Domains(
        train=_rows(source, training_rows),
        validation=_rows(source, order[:kept]),
        target=target,
        to_predict=target.images,
        whole=WholeSource(source.images, training_rows) if config.features else None,
    )


def to_features(space: FeatureSpace, domains: Domains, inputs: Inputs, config: TrainConfig) -> Domains:
    """The same domains with features in place of images: random views to train on, plain ones to predict.

    The random views are of the whole source, however it is split, so that runs of other seeds find them.
    """
    views, count = inputs.views, config.features

    def random(rows: Rows, view: Augment, domain: str) -> Tensor:
        with CountedProgress(f"features of {domain}", sys.stdout) as progress:
            return space.random(rows, view, count, domain, progress)

    def plain(rows: Rows, domain: str) -> Tensor:
        with CountedProgress(f"features of {domain}, plain", sys.stdout) as progress:
            return space.plain(rows, domain, progress)

    source, whole = name_of(config.source), domains.whole
    assert whole is not None
    features = random(whole.images, views.source, source)
    train, validation = domains.train, domains.validation
    if len(validation.labels):
        features = features[whole.training_rows]
        validation = replace(validation, images=plain(validation.images, f"{source}, validation"))
    return Domains(
        train=replace(train, images=features),
        validation=validation,
        target=replace(domains.target, images=random(domains.target.images, views.student, config.target)),
        to_predict=plain(domains.target.images, config.target),
    )


def failures(images: Iterable[Rows]) -> tuple[Unreadable, ...]:
    """The files that turned out to be unreadable since they were listed, of rows that are decoded on demand."""
    found: list[Unreadable] = []
    for rows in images:
        if isinstance(rows, StreamedImages):
            found += rows.failures
        elif isinstance(rows, Selected):
            found += failures([rows.rows])
        elif isinstance(rows, Concatenated):
            found += failures(rows.parts)
    return tuple(dict.fromkeys(found))


def where_of(config: TrainConfig) -> dict[str, Any]:
    """How data are opened: what every ``open_`` function of :mod:`dalib.data.sources` takes."""
    return {
        "strict": config.strict,
        "root": config.root,
        "download": config.download,
        "cache": config.cache,
        "on_note": say,
    }


def name_of(source: str | list[str]) -> str:
    """One name for one source or several."""
    return source if isinstance(source, str) else " + ".join(source)


def _rows(labelled: LabelledImages, indices: Tensor) -> LabelledImages:
    names = tuple(labelled.names[index] for index in indices.tolist())
    images = labelled.images
    small = isinstance(images, Tensor) and images.nbytes < SMALL
    selected = cast("Tensor", images)[indices] if small else Selected(images, indices)
    return replace(labelled, images=selected, labels=labelled.labels[indices], names=names)
