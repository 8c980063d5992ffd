"""Pictures that training writes for the report: augmented views, sample predictions, a map of features.

This file knows torch; the page does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import threadpool_limits
from torch import Tensor

from dalib.core.files import write_json
from dalib.core.seeds import derive_seed, generator_for
from dalib.data.stream import permuted
from dalib.records.candidates import ADAPTED
from dalib.records.content import encoded
from dalib.records.pictures import Embedding, MappedDomains, Sample, SamplePrediction, TileSheet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dalib.core.types import Augment
    from dalib.data.domain_images import LabelledImages, UnlabelledImages
    from dalib.data.rows import Rows

SHEET_IMAGES = 8
SAMPLES = 12  # of each group
CLASS_SAMPLES = 48  # images that show the classes, at most four of each; where there are more classes, one of each
MOST_SHOWN_CLASSES = 400
CELL, LARGEST_CELL = 72, 112  # pixels of one image; larger ones would make a heavy report
TILE, TILE_COLUMNS = 40, 32  # pixels of a thumbnail on the map, at most, and thumbnails in a row of their sheet
MAPPED = 500  # images of each domain on a map
LEAST_MAPPED = 30  # points: t-SNE has nothing to arrange among fewer
PRINCIPAL = 50  # components that t-SNE starts from, as is usual

Array = NDArray[np.float32]


def write_view_sheet(path: Path, images: Rows, student: Augment, teacher: Augment, seed: int) -> None:
    """Writes a PNG: a row for each of some images (N, C, H, W) uint8, with two student views and two teacher views."""
    chosen = images[_choose(len(images), SHEET_IMAGES, seed)]
    columns = [chosen.float()]
    for name, view in (("student", student), ("teacher", teacher)):
        columns += [view(chosen, generator_for("cpu", seed, "sheet", name, number)) for number in range(2)]
    size = chosen.shape[-1]  # a view may be smaller, and is shown in the middle
    sheet = torch.ones(chosen.shape[1], len(chosen) * (size + 2), len(columns) * (size + 2))
    for column, views in enumerate(columns):
        for row, view in enumerate(_stretched(views)):
            seen = view.shape[-1]
            top, left = row * (size + 2) + (size - seen) // 2, column * (size + 2) + (size - seen) // 2
            sheet[:, top : top + seen, left : left + seen] = view
    _write_picture(_shown(as_image((sheet * 255).byte()), size), path)


def _write_picture(picture: Image.Image, path: Path, quality: int = 75) -> None:
    """Writes a PNG, which has no ``quality``, or a JPEG; in place of a link, which could lead out of the run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    picture.save(path, quality=quality)


def write_samples(
    folder: Path, target: UnlabelledImages, probabilities: dict[str, Tensor], classes: Sequence[str], seed: int
) -> None:
    """Writes pictures of some target images, and samples.json with each model's predictions (name -> (N, C)) for them.

    The group ``differ`` holds at most 24 images on which the two models differ (:func:`_differing`), each with the name
    of the surer model as ``surer``. At most 12 each are in the groups ``least`` and ``most``, the images of which the
    adapted model, or the last one where it is not there, is least and most confident. The group ``class`` has images
    that the same model predicts as each class, drawn at random.
    """
    order = _choose(len(target.names), len(target.names), seed)  # ties of confidence are drawn, too
    differing = _differing(probabilities, order)
    judge = probabilities.get("adapted", list(probabilities.values())[-1])
    ascending = order[judge[order].amax(dim=1).argsort(stable=True)]
    most = ascending.flip(0)[: min(SAMPLES, len(ascending) // 2)]
    groups = {
        "differ": torch.cat([*differing.values()]) if differing else order[:0],
        "least": ascending[: min(SAMPLES, len(ascending) - len(most))],
        "most": most,
        "class": _of_each_class(judge.argmax(dim=1), order, len(classes)),
    }
    surer = {index: name for name, rows in differing.items() for index in rows.tolist()}
    pictures = _Pictures(folder, target.images, target.names, probabilities, classes)
    samples = [
        pictures.sample(index, group, surer=surer[index] if group == "differ" else None)
        for group, chosen in groups.items()
        for index in chosen.tolist()
    ]
    write_json(folder / "samples.json", encoded(samples))


def write_mistakes(folder: Path, labelled: LabelledImages, probabilities: Mapping[str, Tensor]) -> tuple[Sample, ...]:
    """Writes pictures of labelled images that a model (name -> (N, C)) predicts wrongly; returns them with their truth.

    The groups are ``lost``, ``both`` and ``mended``, where the adapted model alone, both or the baseline alone is
    wrong; ``wrong`` where there are not both. At most 12 of each, from as many true classes as there are, surest first.
    """
    wrong = {name: each.argmax(dim=1) != labelled.labels for name, each in probabilities.items()}
    others = [name for name in wrong if name != ADAPTED]
    if len(wrong) > len(others) > 0:
        adapted, baseline = wrong[ADAPTED], wrong[others[0]]
        groups = {
            "lost": (adapted & ~baseline, ADAPTED),
            "both": (adapted & baseline, ADAPTED),
            "mended": (baseline & ~adapted, others[0]),
        }
    else:
        name = next(iter(wrong))
        groups = {"wrong": (wrong[name], name)}
    pictures = _Pictures(folder, labelled.images, labelled.names, probabilities, labelled.classes)
    return tuple(
        pictures.sample(index, group, truth=labelled.classes[int(labelled.labels[index])])
        for group, (chosen, name) in groups.items()
        for index in _surest_of_each(chosen, probabilities[name].amax(dim=1), labelled.labels)
    )


def _surest_of_each(chosen: Tensor, confidence: Tensor, labels: Tensor) -> list[int]:
    """Returns at most SAMPLES of the chosen rows: the surest of each class first, then the second ones, and so on."""
    rows = chosen.nonzero().squeeze(1)
    rows = rows[confidence[rows].argsort(descending=True, stable=True)]
    before: dict[int, int] = {}
    places = []
    for label in labels[rows].tolist():
        places.append(before.get(label, 0))
        before[label] = places[-1] + 1
    found: list[int] = rows[torch.tensor(places, dtype=torch.int64).argsort(stable=True)][:SAMPLES].tolist()
    return found


def _of_each_class(predicted: Tensor, order: Tensor, classes: int) -> Tensor:
    """Rows that are predicted as each class, in the classes' order; drawn at random, as ``order`` is."""
    each = min(4, max(1, CLASS_SAMPLES // classes))
    in_order = predicted[order]
    found = [order[in_order == label][:each] for label in range(min(classes, MOST_SHOWN_CLASSES))]
    return torch.cat(found) if found else order[:0]


@dataclass
class _Pictures:
    """Pictures of some images in a folder, each image once, with what the models predict for them; ``files`` grows."""

    folder: Path
    images: Rows
    names: Sequence[str]
    probabilities: Mapping[str, Tensor]
    classes: Sequence[str]
    files: dict[int, str] = field(default_factory=dict)

    def sample(self, index: int, group: str, *, surer: str | None = None, truth: str | None = None) -> Sample:
        """Returns the record of an image, whose picture is written the first time."""
        if index not in self.files:
            picture = as_image(self.images[torch.tensor([index])][0])
            # photographs that were made smaller are seen as well in a tenth of the bytes
            ending = "jpg" if picture.width > LARGEST_CELL else "png"
            self.files[index] = f"{len(self.files):03d}.{ending}"
            _write_picture(_shown(picture, picture.width), self.folder / self.files[index], quality=85)
        predictions = {}
        for name, each in self.probabilities.items():
            confidence, label = each[index].max(dim=0)
            predictions[name] = SamplePrediction(self.classes[int(label)], confidence.item())
        return Sample(self.files[index], self.names[index], predictions, group, surer, truth)


def _differing(probabilities: dict[str, Tensor], order: Tensor) -> dict[str, Tensor]:
    """Images on which the two models differ, by the name of the surer model: at most 12 of each, surest first.

    The order is that of the less sure answer's confidence: an image comes first where both models stand by answers of
    which one at least is wrong. By the surer answer alone, the first would be images on which the other model guesses;
    and a product lets one confidence make up for the other. Confidence is not comparable between models that are
    calibrated differently, so each kind has its own places.
    """
    if len(probabilities) != 2:
        return {}
    (one, other), names = probabilities.values(), [*probabilities]
    (sure, first), (other_sure, second) = (each[order].max(dim=1) for each in (one, other))
    held = torch.minimum(sure, other_sure).argsort(descending=True, stable=True)
    held = held[(first != second)[held]]
    by_first = (sure >= other_sure)[held]
    return {names[0]: order[held[by_first]][:SAMPLES], names[1]: order[held[~by_first]][:SAMPLES]}


@dataclass(frozen=True)
class MappedImages:
    """The images of features, to be shown on the map: rows of ``source`` and ``target``, a number for each feature."""

    source: Rows
    source_rows: Tensor
    target: Rows
    target_rows: Tensor


def write_embedding(
    path: Path,
    features: dict[str, tuple[Tensor, Tensor, Tensor, Tensor]],
    seed: int,
    images: MappedImages | None = None,
) -> bool:
    """Writes embedding.json: where source and target images lie in each model's features, in two dimensions.

    t-SNE of the first 50 principal components, of at most 500 images of each domain: about 3 s a model on one thread.
    PCA alone where a model has fewer than 30 images or hardly any different ones, as after a collapse.

    Args:
        path: where to write.
        features: by the model's name, the source's features (N, D) and labels (N,), and the target's features (M, D)
            and predicted classes (M,). Images whose features are not finite are left out; so is a model without any.
        seed: which images; the same seed and features give the same map on the same machine.
        images: of the features; map.jpg beside the file then holds a thumbnail of each.

    Returns:
        Whether there was anything to write.

    Raises:
        ValueError: shapes that do not fit.

    Source: van der Maaten & Hinton, JMLR 2008.
    """
    drawn: dict[str, tuple[Array, list[int], tuple[Tensor, Tensor]]] = {}
    for name, (source, labels, target, predictions) in features.items():
        if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
            raise ValueError(f"{name}: expected (N, D) and (M, D), got {tuple(source.shape)} and {tuple(target.shape)}")
        if labels.shape != source.shape[:1] or predictions.shape != target.shape[:1]:
            raise ValueError(
                f"{name}: expected a class for each of {len(source)} source and {len(target)} target images, "
                f"got {tuple(labels.shape)} and {tuple(predictions.shape)}"
            )
        chosen = [_drawn(each, of, seed) for each, of in ((source, labels), (target, predictions))]
        points = torch.cat([each for each, _, _ in chosen]).numpy()
        if len(points):
            drawn[name] = points, [label for _, of, _ in chosen for label in of], (chosen[0][2], chosen[1][2])
    if not drawn:
        return False
    components = {name: _principal(points) for name, (points, _, _) in drawn.items()}
    arranged = all(
        len(np.unique(each, axis=0)) >= LEAST_MAPPED and each[:, 0].std() > 0 for each in components.values()
    )
    sheet, tiles = _tiles(path, images, [rows for _, _, rows in drawn.values()]) if images else (None, [])
    models = {}
    for number, (name, (_, labels_of, rows)) in enumerate(drawn.items()):
        places = _arranged(components[name], seed) if arranged else components[name][:, :2]
        scale = float(np.abs(places).max()) or 1.0
        # to a thousandth of the map: more would be digits that nobody sees
        placed = [(x, y, label) for (x, y), label in zip((places / scale).round(3).tolist(), labels_of, strict=True)]
        sources = len(rows[0])
        models[name] = MappedDomains(
            tuple(placed[:sources]), tuple(placed[sources:]), *(tiles[number] if tiles else (None, None))
        )
    Embedding("t-SNE" if arranged else "PCA", models, sheet).write(path)
    return True


def _tiles(
    path: Path, images: MappedImages, rows: Sequence[tuple[Tensor, Tensor]]
) -> tuple[TileSheet, list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """Writes the thumbnails of all rows of features; returns their sheet, and each model's numbers in it."""
    pictures, numbers, count = [], [], 0
    for domain, of, all_rows in ((0, images.source, images.source_rows), (1, images.target, images.target_rows)):
        shown = torch.tensor(sorted({row for each in rows for row in each[domain].tolist()}), dtype=torch.int64)
        if len(shown):
            pictures.append(_thumbnails(of[all_rows[shown]]))
        numbers.append({row: count + place for place, row in enumerate(shown.tolist())})
        count += len(shown)
    size = max(each.shape[-1] for each in pictures)
    thumbnails = torch.cat([_resized(each, size) for each in pictures])
    columns = min(TILE_COLUMNS, count)
    missing = -count % columns
    thumbnails = F.pad(thumbnails, (0, 0, 0, 0, 0, 0, 0, missing))
    channels = thumbnails.shape[1]
    sheet = thumbnails.view(-1, columns, channels, size, size).permute(2, 0, 3, 1, 4)
    file = path.with_name("map.jpg")
    _write_picture(as_image(sheet.reshape(channels, -1, columns * size)), file, quality=75)
    tiles = [tuple(tuple(numbers[domain][row] for row in each[domain].tolist()) for domain in (0, 1)) for each in rows]
    return TileSheet(file.name, size, columns), [(source, target) for source, target in tiles]


def _thumbnails(images: Tensor) -> Tensor:
    """Returns images (N, C, H, W) uint8, not larger than a thumbnail."""
    return _resized(images, min(TILE, images.shape[-1]))


def _resized(images: Tensor, size: int) -> Tensor:
    if images.shape[-1] == size:
        return images
    resized = F.interpolate(images.float(), size=(size, size), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)


def _drawn(features: Tensor, classes: Tensor, seed: int) -> tuple[Tensor, list[int], Tensor]:
    """Returns at most MAPPED rows with finite entries, their classes, and their numbers."""
    features = features.detach().to("cpu", torch.float32)
    finite = features.isfinite().all(dim=1).nonzero().squeeze(1)
    rows = finite[_choose(len(finite), MAPPED, seed)]
    return features[rows], classes.detach().cpu()[rows].tolist(), rows


def _principal(points: Array) -> Array:
    """Computes the coordinates (N, K) of points (N, D) along the 2 <= K <= 50 directions in which they differ most."""
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    centred /= max(float(np.abs(centred).max(initial=0.0)), 1e-12)  # squares of large numbers overflow
    # by way of the (N, N) products: there are few images, and features may have tens of thousands of entries
    squares, left = np.linalg.eigh(centred @ centred.T)
    values = np.sqrt(squares[::-1].clip(0))[:PRINCIPAL]
    found = left[:, ::-1][:, :PRINCIPAL] * values
    found[:, values < 1e-6 * max(values[0], 1.0)] = 0.0  # what is left of equal points is rounding, and no place
    if found.shape[1] < 2:
        found = np.pad(found, ((0, 0), (0, 2 - found.shape[1])))
    return np.asarray(found, dtype=np.float32)


MAP_STEPS = 500
"""Steps of t-SNE: half of scikit-learn's default. From principal components, the map has its shape by then."""


def _arranged(components: Array, seed: int) -> Array:
    from sklearn.manifold import TSNE  # here, because it takes a second

    start = components[:, :2] / components[:, 0].std() * 1e-4
    perplexity = min(30.0, (len(components) - 1) / 3)
    projection = TSNE(
        perplexity=perplexity, init=start, learning_rate="auto", max_iter=MAP_STEPS, random_state=seed % 2**32
    )
    # its threads wait for each other so often that, beside other work, several are many times slower than one
    with threadpool_limits(1, user_api="openmp"):
        return np.asarray(projection.fit_transform(components), dtype=np.float32)


def _choose(size: int, count: int, seed: int) -> Tensor:
    positions = torch.arange(min(size, count)).numpy()
    return torch.from_numpy(permuted(positions, size, derive_seed(seed, "samples")))


def _shown(picture: Image.Image, size: int) -> Image.Image:
    """Returns the picture, whose images are ``size`` pixels wide, at a readable size: pixels repeated, or averaged."""
    if size > LARGEST_CELL:
        scale = LARGEST_CELL / size
        return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    factor = max(1, CELL // size)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _stretched(views: Tensor) -> Tensor:
    """Stretches each image to [0, 1] between its own least and greatest value."""
    low = views.amin(dim=(1, 2, 3), keepdim=True)
    return (views - low) / (views.amax(dim=(1, 2, 3), keepdim=True) - low).clamp_min(1e-6)


def as_image(pixels: Tensor) -> Image.Image:
    """Returns pixels (C, H, W) uint8 as a PIL image."""
    array = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
