"""``samples/samples.json`` and ``embedding.json``: what the report draws, and what the models predict for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from dalib.records.content import ABSENT, Record

Point = tuple[float, float, int]
"""x, y and a class number."""


@dataclass(frozen=True)
class MappedDomains:
    """Places of images in one model's features: source images by their class, target images by the predicted one.

    Attributes:
        source, target: points.
        source_tiles, target_tiles: of each point, the number of its thumbnail in the sheet; older runs have none.
    """

    source: tuple[Point, ...] = ()
    target: tuple[Point, ...] = ()
    source_tiles: tuple[int, ...] | None = field(default=None, metadata=ABSENT)
    target_tiles: tuple[int, ...] | None = field(default=None, metadata=ABSENT)


@dataclass(frozen=True)
class TileSheet:
    """One picture with the thumbnails of all mapped images, row by row.

    Attributes:
        file: its name beside embedding.json.
        size: pixels of a side of a thumbnail.
        columns: thumbnails in a row.
    """

    file: str
    size: int
    columns: int


@dataclass(frozen=True)
class Embedding(Record):
    """The features of each model in two dimensions.

    Attributes:
        method: t-SNE or PCA.
        models: by name.
        sheet: of thumbnails; older runs have none.
    """

    method: str = ""
    models: dict[str, MappedDomains] = field(default_factory=dict)
    sheet: TileSheet | None = field(default=None, metadata=ABSENT)
    version: int = Record.VERSION


@dataclass(frozen=True)
class SamplePrediction:
    """Prediction of one model: the name of a class, ``class`` in the file, and its probability."""

    label: str = field(metadata={"key": "class"})
    confidence: float


@dataclass(frozen=True)
class Sample:
    """One image in ``samples/``, or one that was predicted wrongly; samples.json is a list of them.

    Attributes:
        file: the picture's name in the folder.
        name: the image's path.
        predictions: by the model's name.
        group: differ, least, most or class; older runs have none. Of mistakes: lost, where the adapted model alone is
            wrong, both, mended, where the baseline alone is wrong, or wrong, where there is one model.
        surer: of the group differ, the model that is surer; not in older runs.
        truth: the class of a labelled image.
    """

    file: str
    name: str = ""
    predictions: dict[str, SamplePrediction] = field(default_factory=dict)
    group: str = ""
    surer: str | None = field(default=None, metadata=ABSENT)
    truth: str | None = field(default=None, metadata=ABSENT)
