"""Features of target and source images for the judgement of models: from arrays, files, or the built-in network."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dalib.core.console import CountedProgress, say_note
from dalib.core.devices import choose_device
from dalib.core.errors import Setting, UserError
from dalib.core.files import expanded
from dalib.data.file_rows import read_folder
from dalib.data.rows import Selected
from dalib.data.sources import open_labelled
from dalib.engine.evaluate import evaluated_rows
from dalib.judge.structure import Representation
from dalib.report.sheets import as_image
from dalib.run.finished.feature_table import FEATURES, FILES, NAMES, PATH
from dalib.run.finished.image_features import ImageFeatures
from dalib.run.others.model_tables import pair_of, positions_of, read_arrays, shared_folder, without_shared_folder
from dalib.run.others.table_objects import index_of, is_frame, require_known_order
from dalib.run.recipe import image_network
from dalib.run.settings.image_defaults import PHOTOGRAPH_SETTINGS
from dalib.run.settings.presets import from_preset

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from dalib.data.preprocessing import Preprocessing
    from dalib.data.rows import Rows
    from dalib.run.features.feature_space import FeatureSpace


ENDINGS = (".npz", ".npy", ".safetensors", ".parquet")

PICTURE_SIDE = 112
"""Pixels in each direction of an image in a page, at most: some 4 kB."""


@dataclass(frozen=True)
class GivenFeatures:
    """Where the features come from, as the arguments name it."""

    features: Any
    images: str | Path | None
    source: Any

    def opened(self, names: Sequence[str] | None) -> TargetImages | None:
        """Returns the target's images; None where features or nothing is given in place of them.

        Args:
            names: of all images in the order of the models' tables.

        Raises:
            UserError: arguments that exclude each other, no names, or images of the tables that are not there.
        """
        self._check()
        return None if self.images is None else _opened(self.images, names)

    def representation(
        self,
        rows: Tensor,
        count: int,
        names: Sequence[str] | None,
        classes: Sequence[str],
        opened: TargetImages | None = None,
    ) -> Representation | None:
        """Returns the features of chosen rows of the target's images, and of labelled source images where there are.

        Args:
            rows: (M,) int64, numbers of the images to judge by, in the order of the models' tables.
            count: number of all images.
            names: of all images, where they have names.
            classes: C names.
            opened: what :meth:`opened` returned, where it was called before.
        """
        self._check()
        if self.images is not None:
            return self._of_images(rows, classes, opened or _opened(self.images, names))
        if self.features is None:
            return None
        target = _feature_rows(self.features, _setting("features", self.features), count, names)[rows]
        source, labels = target[:0], torch.zeros(0, dtype=torch.int64)
        if self.source is not None:
            source, labels = _labelled_features(self.source, classes)
            if source.shape[1] != target.shape[1]:
                raise UserError(
                    _setting("source", self.source),
                    f": expected {target.shape[1]} features as of the target, got {source.shape[1]}; both have to be "
                    "of the same network",
                )
        return Representation(target, source, labels)

    def _check(self) -> None:
        if self.images is not None and self.features is not None:
            raise UserError(Setting("images"), ": expected either images or ", Setting("features"), ", got both")
        if self.source is not None and self.features is None and self.images is None:
            raise UserError(
                _setting("source", self.source),
                ": expected ",
                Setting("features"),
                " or ",
                Setting("images"),
                " of the target too, so that one network sees both",
            )
        if self.source is not None and self.images is not None and not isinstance(self.source, str | Path):
            raise UserError(Setting("source"), ": expected a folder of images, as ", Setting("images"), " is one")

    def _of_images(self, rows: Tensor, classes: Sequence[str], opened: TargetImages) -> Representation:
        network = opened.network
        target = network.features(opened.images, opened.rows[rows], opened.place)
        source, labels = target[:0], torch.zeros(0, dtype=torch.int64)
        if self.source is not None:
            of_source = str(expanded(str(self.source)))
            with CountedProgress(f"reading {of_source}") as progress:
                labelled = open_labelled(
                    of_source,
                    network.preprocessing,
                    classes,
                    argument="source",
                    of_run=False,
                    cache="disk",
                    on_progress=progress,
                    on_note=say_note,
                )
            chosen = evaluated_rows(len(labelled.labels))
            source, labels = network.features(labelled.images, chosen, of_source), labelled.labels[chosen]
        return Representation(target, source, labels)


@dataclass(frozen=True)
class TargetImages:
    """The target's images, as the built-in network sees them.

    Attributes:
        place: where they lie.
        images: (K, C, S, S) uint8, all that are there.
        names: K names of them.
        rows: (M,) int64, the row of each image of the models' tables.
        network: the network.
    """

    place: str
    images: Rows
    names: Sequence[str]
    rows: Tensor
    network: _BuiltInNetwork

    def pictures(self, chosen: Sequence[str], names: Sequence[str], numbers: Tensor) -> dict[str, bytes]:
        """Returns small pictures of chosen images, as the content of JPEG files, by their names.

        Args:
            chosen: names, some of ``names``.
            names: M names of images.
            numbers: (M,) int64, their places in the models' tables.
        """
        place = dict(zip(names, numbers.tolist(), strict=True))
        if not chosen:
            return {}
        pixels = self.images[self.rows[torch.tensor([place[name] for name in chosen])]]
        return {name: _small_picture(each) for name, each in zip(chosen, pixels, strict=True)}


def _opened(images: str | Path, names: Sequence[str] | None) -> TargetImages:
    where = Setting("images", str(images))
    if names is None:
        raise UserError(
            where,
            ": the models' tables have no names of images, so nobody knows which is which; give ",
            Setting("names"),
        )
    place = str(expanded(str(images)))
    network = _BuiltInNetwork.of()
    with CountedProgress(f"reading {place}") as progress:
        opened = read_folder(
            place, network.preprocessing, argument="images", cache="disk", on_progress=progress, on_note=say_note
        )
    rows = torch.tensor(_rows_of_images(opened.names, names, where))
    return TargetImages(place, opened.images, opened.names, rows, network)


def _small_picture(pixels: Tensor) -> bytes:
    """Returns pixels (C, S, S) uint8 as a JPEG file of at most ``PICTURE_SIDE`` pixels in each direction."""
    picture, file = as_image(pixels), io.BytesIO()
    picture.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()


@dataclass(frozen=True)
class _BuiltInNetwork:
    """The frozen backbone of ``photo-features``, and how images reach it."""

    space: FeatureSpace
    preprocessing: Preprocessing

    @classmethod
    def of(cls) -> _BuiltInNetwork:
        config = from_preset("photo-features", **PHOTOGRAPH_SETTINGS)
        preprocessing = image_network.make_preprocessing(config)
        network = image_network.make_network(config, preprocessing, 2)
        space = image_network.make_feature_space(config, network, preprocessing, choose_device("auto"))
        return cls(space, preprocessing)

    def features(self, rows: Rows, chosen: Tensor, what: str) -> Tensor:
        """Returns features (M, D) of chosen rows (M,), the mean over the views that predictions are made of.

        They are computed in the order of the rows, as a run computes and keeps those of all.
        """
        order = chosen.argsort()
        with CountedProgress(f"features of {what}") as progress:
            found = self.space.plain(Selected(rows, chosen[order]), what, progress)
        return found[order.argsort()].float().mean(dim=1)


def _rows_of_images(there: Sequence[str], wanted: Sequence[str], where: Setting) -> list[int]:
    """Returns the row of each image by its name: the whole, or without folders that all images lie in.

    The more of such a folder's name both have, the better: where ``there`` holds ``street/1.png`` and
    ``street/day/1.png``, ``day/1.png`` is the second, and so is the one of a folder ``street/day`` elsewhere.
    """
    rows = {name: row for row, name in enumerate(there)}
    if all(name in rows for name in wanted):
        return [rows[name] for name in wanted]
    rows = {name: row for row, name in enumerate(without_shared_folder(there))}
    own, names = shared_folder(wanted), without_shared_folder(wanted)
    for left_out in _places_in(own, shared_folder(there)):
        asked = ["/".join([*own[left_out:], name]) for name in names]
        if all(name in rows for name in asked):
            return [rows[name] for name in asked]
    lacking = [name for name, short in zip(wanted, names, strict=True) if short not in rows]
    raise UserError(
        where,
        f": {len(lacking)} of {len(wanted)} images of the tables are not there, such as {lacking[0]!r}; it has "
        f"{there[0]!r}",
    )


def _places_in(own: Sequence[str], other: Sequence[str]) -> Iterator[int]:
    """Yields how many first parts of a folder may stand for another folder, the likeliest first.

    >>> [*_places_in(["home", "street", "day"], ["data", "street"])]
    [2, 0, 1, 2, 3]
    """
    for common in range(min(len(own), len(other)), 0, -1):
        for end in range(common, len(own) + 1):
            if list(own[end - common : end]) == list(other[len(other) - common :]):
                yield end
    yield from range(len(own) + 1)


def _setting(argument: str, given: Any) -> Setting:
    """Returns an argument for messages: with the place of a file, and by its name alone where it is an object."""
    return Setting(argument, str(given)) if isinstance(given, str | Path) else Setting(argument)


def _feature_rows(given: Any, where: Setting, count: int, names: Sequence[str] | None) -> Tensor:
    """Returns features (M, D) float32 in the order of the images."""
    if isinstance(given, str | Path):
        arrays = _arrays_of(given, where)
        features = _checked_features(_features_in(arrays, where), where)
        listed = arrays.get("names", arrays.get("paths"))
        if listed is not None and names is not None:
            if len(listed) != len(features):
                raise UserError(where, f": expected as many names as rows, got {len(listed)} and {len(features)}")
            features = features[_rows_of_images(list(map(str, listed.tolist())), names, where)]
    elif isinstance(given, ImageFeatures):
        features = _checked_features(given.features, where)
        if names is not None:
            features = features[_rows_of_images(given.paths, names, where)]
    else:
        features = _checked_features(given, where)
        if is_frame(given):
            require_known_order(given, names, where)
            index = index_of(given)
            if index is not None and names is not None and set(names) <= set(index):
                features = features[_rows_of_images(index, names, where)]
    if len(features) != count:
        raise UserError(where, f": expected {count} rows, one an image, got {len(features)}")
    return features


def _labelled_features(given: Any, classes: Sequence[str]) -> tuple[Tensor, Tensor]:
    where = _setting("source", given)
    if isinstance(given, str | Path):
        arrays = _arrays_of(given, where)
        if "labels" not in arrays:
            raise UserError(where, f": expected arrays features and labels, got {', '.join(arrays)}")
        labels = arrays.pop("labels")
        features = _checked_features(_features_in(arrays, where), where)
    else:
        features, labels = pair_of(given, where, "features")
        features = _checked_features(features, where)
    return features, positions_of(labels, classes, len(features), where)


def _arrays_of(given: str | Path, where: Setting) -> dict[str, np.ndarray]:
    path = Path(expanded(given))
    if path.is_dir():
        if not all((path / file).is_file() for file in FILES):
            raise UserError(where, f": expected a file, or a folder that holds {' and '.join(FILES)}")
        return {
            name: read_arrays(path / file, where)["features"]
            for name, file in zip((FEATURES, NAMES), FILES, strict=True)
        }
    if path.suffix.lower() not in ENDINGS:
        raise UserError(where, f": expected a file that ends in {', '.join(ENDINGS)}, or a folder of arrays")
    return _in_parquet(path, where) if path.suffix.lower() == ".parquet" else read_arrays(path, where)


def _in_parquet(path: Path, where: Setting) -> dict[str, np.ndarray]:
    """Returns the columns of a Parquet file: features are lists of one length, names stand in the column path.

    Raises:
        UserError: pyarrow is not installed, no such file, another format, or lists of several lengths.
    """
    try:
        from pyarrow import ArrowException, compute, parquet, types
    except ImportError:
        raise UserError(where, ": pyarrow is not installed; pip install pyarrow, or give .npz") from None
    try:
        table = parquet.read_table(path)
    except FileNotFoundError:
        raise UserError(where, ": no such file") from None
    except (ArrowException, OSError) as error:
        raise UserError(where, f": cannot be read as Parquet ({str(error)[:200]})") from None
    found = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if types.is_list(column.type) or types.is_large_list(column.type) or types.is_fixed_size_list(column.type):
            if len(compute.unique(compute.list_value_length(column))) != 1:
                raise UserError(where, f": expected as many numbers in each row of the column {name!r}")
            flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
            found[name] = flat.reshape(len(table), -1).copy()  # its memory is arrow's, which nobody may write
        else:
            found[NAMES if name == PATH else name] = np.array(column.to_pylist())
    return found


def _features_in(arrays: Mapping[str, np.ndarray], where: Setting) -> np.ndarray:
    wide = [name for name, each in arrays.items() if each.ndim == 2 and each.dtype.kind == "f"]
    if "features" in arrays:
        return arrays["features"]
    if len(wide) != 1:
        raise UserError(where, f": expected an array named features, got {', '.join(arrays) or 'none'}")
    return arrays[wide[0]]


def _checked_features(values: Any, where: Setting) -> Tensor:
    try:
        plain = values.detach().cpu().float() if isinstance(values, torch.Tensor) else values
        features = torch.from_numpy(np.require(plain, np.float32, "W"))  # of a read-only array torch warns
    except (TypeError, ValueError) as error:
        raise UserError(where, f": expected numbers (images, features) ({error})") from None
    if features.ndim != 2 or 0 in features.shape:
        raise UserError(where, f": expected features (images, features), got shape {tuple(features.shape)}")
    if not bool(features.isfinite().all()):
        raise UserError(where, f": {int((~features.isfinite()).any(dim=1).sum())} rows have NaN or infinite values")
    return features
