"""A kit: what adaptation and judgement need of a source, in one file without an image. Knows no torch.

It is a safetensors file: the tensors of the source-only model, statistics of the classes' features, and the model's
probabilities for the validation images with their labels. The header's metadata hold one text, ``kit``: a line with a
digest of all that follows and of the tensors, then the JSON that :class:`KitHeader` is read from.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalib.core.errors import Call, Message, Setting, UserError
from dalib.core.files import expanded

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = 1

MAX_HEADER = 2**24
"""Bytes of a safetensors header that are read."""

GROUPS = ("data", "model", "views", "optimizer", "self_ensemble")
SETTINGS = ("preset", "backbone", "features", "batch", "statistics")
"""Settings of the run that a kit gives to the runs that start from it, and the groups of such settings."""

OF_IMAGES = ("model.trained_stages",)
"""Settings of these groups that a kit does not give, because they need the source's images."""


@dataclass(frozen=True)
class KitHeader:
    """The header of a kit.

    Attributes:
        description: the model as in the config.json of a saved one.
        settings: settings of the run, by their dotted names; none of them is a path.
        counts: by class, the source's training images.
        left_out: classes that have too few images for statistics.
        digest: of the whole content.
    """

    description: dict[str, Any]
    settings: dict[str, Any]
    counts: tuple[int, ...]
    left_out: tuple[str, ...]
    digest: str = ""

    def text(self) -> str:
        """Returns the metadata that :func:`read_header` reads, with the digest that it has."""
        content = {
            "format": FORMAT,
            "description": self.description,
            "settings": self.settings,
            "counts": list(self.counts),
            "left_out": list(self.left_out),
        }
        return f"{self.digest}\n{json.dumps(content, ensure_ascii=False, sort_keys=True)}"


def may_hold(setting: str) -> bool:
    """Returns whether a kit may hold a setting: none that names a file, or needs the source's images.

    >>> may_hold("model.dropout"), may_hold("weights"), may_hold("model.trained_stages")
    (True, False, False)
    """
    of_group = setting.partition(".")[0] in GROUPS and "." in setting
    return setting in SETTINGS or (of_group and setting not in OF_IMAGES)


def settings_in_kit(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of a run's settings that a kit gives to the runs that start from it, by their dotted names.

    Args:
        settings: by their names, groups as dictionaries.

    >>> settings_in_kit({"batch": 64, "weights": "a.safetensors", "model": {"dropout": 0.5, "pool": None}})
    {'batch': 64, 'model.dropout': 0.5}
    """
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= {f"{name}.{part}": each for part, each in value.items()} if isinstance(value, dict) else {name: value}
    return {name: value for name, value in flat.items() if value is not None and may_hold(name)}


def digest_of(content: bytes) -> str:
    """Returns the digest of a kit, given as the bytes of its file: of all but the digest in it.

    Raises:
        ValueError: not a whole safetensors file, or one without the metadata of a kit.
    """
    header, data = _parts(content)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get("kit"), str):
        raise ValueError("no metadata of a kit")
    ends = [entry["data_offsets"][1] for entry in header.values()]
    if max(ends, default=0) != len(data):
        raise ValueError(f"truncated: {len(data)} bytes of tensors, expected {max(ends, default=0)}")
    digest = hashlib.blake2b(digest_size=16)
    for part in (metadata["kit"].partition("\n")[2], json.dumps(header, sort_keys=True)):
        digest.update(part.encode() + b"\0")
    digest.update(data)
    return digest.hexdigest()


def read_header(path: str | Path) -> KitHeader:
    """Reads and checks the header of a kit; its tensors are not opened.

    Raises:
        UserError: no such file, no kit, one of a newer format, or one that is damaged or was changed.
    """
    file, setting = Path(expanded(path)), Setting("kit", str(path))
    written = Call("dalib.run.export.export", Setting("run"), Setting("format", "kit"))
    remedy = Message("; ask for the file again, or write it anew with `", written, "`")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(
            setting,
            f": cannot be read ({error.strerror or error}); give the file that `",
            Call("dalib.run.export.export"),
            "` wrote",
        ) from None
    try:
        digest = digest_of(content)
        given, _, text = _parts(content)[0]["__metadata__"]["kit"].partition("\n")
        about = json.loads(text)
        newest = about["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(setting, f": not a kit, or a damaged one ({error}){remedy}") from None
    if not isinstance(newest, int) or newest > FORMAT:
        raise UserError(setting, f": written in format {newest}; this version reads up to {FORMAT}: update dalib")
    if given != digest:
        raise UserError(setting, f": its content does not fit its digest, it is damaged or was changed{remedy}")
    try:
        return _header(about, digest)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(setting, f": has an unexpected format ({type(error).__name__}: {error}){remedy}") from None


def _header(about: dict[str, Any], digest: str) -> KitHeader:
    description, settings = about["description"], about["settings"]
    if unknown := [name for name in settings if not may_hold(name)]:
        raise ValueError(f"setting {unknown[0]}: a kit holds none of this name")
    backbone = description["architecture"]["backbone"]
    for each in backbone if isinstance(backbone, list) else [backbone]:
        if not isinstance(each, str) or not each.replace(".", "_").isidentifier():
            raise ValueError(f"backbone: expected the name of a network, got {each!r}")
    named = settings.get("backbone", backbone)
    if settings.get("model.domain_statistics") == "joined":  # the network has each of them twice
        named = 2 * ([named] if isinstance(named, str) else named)
    if named != backbone:
        raise ValueError(f"backbone: expected {backbone}, got {settings['backbone']!r}")
    counts = tuple(about["counts"])
    if len(counts) != len(description["classes"]) or not all(type(each) is int and each >= 0 for each in counts):
        raise ValueError("counts: expected a number of images for each class")
    return KitHeader(description, settings, counts, tuple(about["left_out"]), digest)


def _parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Returns the header of a safetensors file, and the bytes of its tensors."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= length <= min(MAX_HEADER, len(content) - 8):
        raise ValueError("no header of a safetensors file")
    header = json.loads(content[8 : 8 + length])
    if not isinstance(header, dict):
        raise TypeError("no header of a safetensors file")
    return header, content[8 + length :]
