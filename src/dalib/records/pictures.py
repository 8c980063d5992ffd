"""``samples/samples.json`` and ``embedding.json``: what the report draws, and what the models predict for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from dalib.records.content import ABSENT, Record

Point = tuple[float, float, int]
"""x, y and a class number."""


@dataclass(frozen=True)
class MappedDomains:
    """Places of images in one model's features: source images by their class, target images by the predicted one."""

    source: tuple[Point, ...] = ()
    target: tuple[Point, ...] = ()


@dataclass(frozen=True)
class Embedding(Record):
    """The features of each model in two dimensions.

    Attributes:
        method: t-SNE or PCA.
        models: by name.
    """

    method: str = ""
    models: dict[str, MappedDomains] = field(default_factory=dict)
    version: int = Record.VERSION


@dataclass(frozen=True)
class SamplePrediction:
    """Prediction of one model: the name of a class, ``class`` in the file, and its probability."""

    label: str = field(metadata={"key": "class"})
    confidence: float


@dataclass(frozen=True)
class Sample:
    """One target image in ``samples/``; samples.json is a list of them.

    Attributes:
        file: the picture's name in the folder.
        name: the image's path.
        predictions: by the model's name.
        group: differ, least or most; older runs have none.
        surer: of the group differ, the model that is surer; not in older runs.
    """

    file: str
    name: str = ""
    predictions: dict[str, SamplePrediction] = field(default_factory=dict)
    group: str = ""
    surer: str | None = field(default=None, metadata=ABSENT)
