"""What training leaves in the run's folder for the report: augmented views, sample predictions, a map of features.

This file knows torch; the page does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor

from dalib.core.files import write_json
from dalib.core.seeds import derive_seed, generator_for
from dalib.data.stream import permuted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dalib.core.types import Augment
    from dalib.data.rows import Rows
    from dalib.data.sources import UnlabelledImages

SHEET_IMAGES = 8
SAMPLES = 12  # of each group
CELL, LARGEST_CELL = 72, 112  # pixels of one image; larger ones would make a heavy report
MAPPED = 500  # images of each domain on a map
LEAST_MAPPED = 30  # points: t-SNE has nothing to arrange among fewer
PRINCIPAL = 50  # components that t-SNE starts from, as is usual

Array = NDArray[np.float32]


def write_view_sheet(path: Path, images: Rows, student: Augment, teacher: Augment, seed: int) -> None:
    """PNG: a row for each of some images (N, C, H, W) uint8; columns: itself, two student views, two teacher views."""
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
    _shown(as_image((sheet * 255).byte()), size).save(path)


def write_samples(
    folder: Path, target: UnlabelledImages, probabilities: dict[str, Tensor], classes: Sequence[str], seed: int
) -> None:
    """PNG files of some target images, and samples.json with what each model (name -> (N, C)) says of them.

    The group ``differ`` holds at most 24 images on which the two models differ (:func:`_differing`), each with the name
    of the surer model as ``surer``. At most 12 each are in the groups ``least`` and ``most``, the images of which the
    adapted model, or the last one where it is not there, is least and most confident.
    """
    folder.mkdir(parents=True, exist_ok=True)
    order = _choose(len(target.names), len(target.names), seed)  # ties of confidence are drawn, too
    differing = _differing(probabilities, order)
    judge = probabilities.get("adapted", list(probabilities.values())[-1])
    ascending = order[judge[order].amax(dim=1).argsort(stable=True)]
    most = ascending.flip(0)[: min(SAMPLES, len(ascending) // 2)]
    groups = {
        "differ": torch.cat([*differing.values()]) if differing else order[:0],
        "least": ascending[: min(SAMPLES, len(ascending) - len(most))],
        "most": most,
    }
    surer = {index: name for name, rows in differing.items() for index in rows.tolist()}
    samples: list[dict[str, Any]] = []
    files: dict[int, str] = {}
    for group, chosen in groups.items():
        for index in chosen.tolist():
            if index not in files:
                files[index] = f"{len(files):03d}.png"
                picture = as_image(target.images[index])
                _shown(picture, picture.width).save(folder / files[index])
            predictions = {}
            for name, each in probabilities.items():
                confidence, label = each[index].max(dim=0)
                predictions[name] = {"class": classes[int(label)], "confidence": confidence.item()}
            sample = {"file": files[index], "group": group, "name": target.names[index], "predictions": predictions}
            samples.append(sample | {"surer": surer[index]} if group == "differ" else sample)
    write_json(folder / "samples.json", samples)


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


def write_embedding(path: Path, features: dict[str, tuple[Tensor, Tensor, Tensor, Tensor]], seed: int) -> bool:
    """embedding.json: where source and target images lie in each model's features, brought to two dimensions.

    t-SNE of the first 50 principal components, of at most 500 images of each domain: about 3 s a model on one thread.
    PCA alone where a model has fewer than 30 images or hardly any different ones, as after a collapse.

    Args:
        path: where to write.
        features: by the model's name, the source's features (N, D) and labels (N,), and the target's features (M, D)
            and predicted classes (M,). Images whose features are not finite are left out; so is a model without any.
        seed: which images; the same seed and features give the same map on the same machine.

    Returns:
        Whether there was anything to write.

    Raises:
        ValueError: shapes that do not fit.

    Source: van der Maaten & Hinton, JMLR 2008.
    """
    drawn: dict[str, tuple[Array, list[int], int]] = {}
    for name, (source, labels, target, predictions) in features.items():
        if source.ndim != 2 or target.ndim != 2 or source.shape[1] != target.shape[1]:
            raise ValueError(f"{name}: expected (N, D) and (M, D), got {tuple(source.shape)} and {tuple(target.shape)}")
        if labels.shape != source.shape[:1] or predictions.shape != target.shape[:1]:
            raise ValueError(
                f"{name}: expected a class for each of {len(source)} source and {len(target)} target images, "
                f"got {tuple(labels.shape)} and {tuple(predictions.shape)}"
            )
        chosen = [_drawn(each, of, seed) for each, of in ((source, labels), (target, predictions))]
        points = torch.cat([each for each, _ in chosen]).numpy()
        if len(points):
            drawn[name] = points, [label for _, of in chosen for label in of], len(chosen[0][0])
    if not drawn:
        return False
    components = {name: _principal(points) for name, (points, _, _) in drawn.items()}
    arranged = all(
        len(np.unique(each, axis=0)) >= LEAST_MAPPED and each[:, 0].std() > 0 for each in components.values()
    )
    models = {}
    for name, (_, labels_of, sources) in drawn.items():
        places = _arranged(components[name], seed) if arranged else components[name][:, :2]
        scale = float(np.abs(places).max()) or 1.0
        # to a thousandth of the map: more would be digits that nobody sees
        rows = [[*place, label] for place, label in zip((places / scale).round(3).tolist(), labels_of, strict=True)]
        models[name] = {"source": rows[:sources], "target": rows[sources:]}
    write_json(path, {"method": "t-SNE" if arranged else "PCA", "models": models})
    return True


def _drawn(features: Tensor, classes: Tensor, seed: int) -> tuple[Tensor, list[int]]:
    """At most MAPPED rows with finite entries, and their classes."""
    features = features.detach().to("cpu", torch.float32)
    finite = features.isfinite().all(dim=1).nonzero().squeeze(1)
    rows = finite[_choose(len(finite), MAPPED, seed)]
    return features[rows], classes.detach().cpu()[rows].tolist()


def _principal(points: Array) -> Array:
    """(N, D) -> (N, K), 2 <= K <= 50: the coordinates along the directions in which the points differ most."""
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


def _arranged(components: Array, seed: int) -> Array:
    start = components[:, :2] / components[:, 0].std() * 1e-4
    perplexity = min(30.0, (len(components) - 1) / 3)
    projection = TSNE(perplexity=perplexity, init=start, learning_rate="auto", random_state=seed % 2**32)
    # its threads wait for each other so often that, beside other work, several are many times slower than one
    with threadpool_limits(1, user_api="openmp"):
        return np.asarray(projection.fit_transform(components), dtype=np.float32)


def _choose(size: int, count: int, seed: int) -> Tensor:
    positions = torch.arange(min(size, count)).numpy()
    return torch.from_numpy(permuted(positions, size, derive_seed(seed, "samples")))


def _shown(picture: Image.Image, size: int) -> Image.Image:
    """The picture, whose images are ``size`` pixels wide, at a size to look at: pixels repeated, or averaged."""
    if size > LARGEST_CELL:
        scale = LARGEST_CELL / size
        return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    factor = max(1, CELL // size)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _stretched(views: Tensor) -> Tensor:
    """Each image to [0, 1] between its own least and greatest value."""
    low = views.amin(dim=(1, 2, 3), keepdim=True)
    return (views - low) / (views.amax(dim=(1, 2, 3), keepdim=True) - low).clamp_min(1e-6)


def as_image(pixels: Tensor) -> Image.Image:
    """(C, H, W) uint8 -> PIL image."""
    array = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
