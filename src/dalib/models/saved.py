"""A saved model: config.json beside model.safetensors. Nothing in it is ever unpickled."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from dalib._version import __version__
from dalib.core.errors import UserError
from dalib.core.files import put_in_place, read_json, write_json
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import MAX_NUMBER, Architecture
from dalib.models.known import SCORE, KnownRule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

FORMAT = 2
"""The newest format; models of one backbone are written in format 1, which older versions read as well."""


@dataclass(frozen=True)
class ModelDescription:
    """All that is needed to build the network and to prepare its input."""

    architecture: Architecture
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    known: KnownRule | None = None
    """Whether an image is of one of the classes; None for a model that expects no other images."""


def save_model(folder: Path, model: nn.Module, description: ModelDescription) -> None:
    """Writes ``folder`` whole or not at all; replaces an existing one."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    (temporary / "model.safetensors").write_bytes(save(plain_tensors(model)))
    write_json(temporary / "config.json", content_of(description))
    shutil.rmtree(folder, ignore_errors=True)
    put_in_place(temporary, folder)


def write_description(folder: Path, description: ModelDescription) -> None:
    """Replaces the description of a saved model."""
    write_json(folder / "config.json", content_of(description))


def content_of(description: ModelDescription) -> dict[str, Any]:
    """Returns the content of config.json, and of the description in any exported file."""
    known = {} if description.known is None else {"known": {"score": SCORE, **asdict(description.known)}}
    return {
        "format": 2 if description.architecture.several else 1,
        "dalib": __version__,
        "architecture": description.architecture.to_json(),
        "classes": list(description.classes),
        # without range where there is none, as it was before there were ranges
        "preprocessing": {
            name: value for name, value in asdict(description.preprocessing).items() if name != "range" or value
        },
        **known,
    }


def load_description(folder: Path) -> ModelDescription:
    """Reads the description in config.json.

    Raises:
        UserError: no such file, not ours, of a newer format, or with values that do not fit.
    """
    path = folder / "config.json"
    return description_of(read_json(path), path)


def description_of(content: Any, path: Path) -> ModelDescription:
    """Parses the result of :func:`content_of`; ``path`` names its file in errors.

    Raises:
        UserError: not ours, of a newer format, or with values that do not fit.
    """
    try:
        if content["format"] > FORMAT:
            raise UserError(
                f"{path}: written in format {content['format']}; this version reads up to {FORMAT}: update dalib"
            )
        given, classes, preprocessing = (content[name] for name in ("architecture", "classes", "preprocessing"))
        architecture = Architecture.from_json(given)
        for name in ("size", "channels", "crop"):
            value = preprocessing.get(name)
            if value is not None and not (isinstance(value, int) and 1 <= value <= MAX_NUMBER):
                raise ValueError(
                    f"preprocessing: {name}: expected a whole number from 1 to {MAX_NUMBER}, got {value!r}"
                )
        if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
            raise TypeError(f"classes: expected a list of names, got {classes!r}")
        if len(set(classes)) < len(classes):
            raise ValueError(f"classes: expected each name once, got {classes!r}")
        for name in ("mean", "std"):
            if preprocessing[name] is not None:
                preprocessing[name] = tuple(preprocessing[name])
        if (black_white := preprocessing.get("range")) is not None:
            if not (isinstance(black_white, list) and list(map(type, black_white)) == [int, int]):
                raise ValueError(f"preprocessing: range: expected two whole numbers, got {black_white!r}")
            preprocessing["range"] = tuple(black_white)
        known = _known_rule(content["known"]) if "known" in content else None
        return ModelDescription(architecture, tuple(classes), Preprocessing(**preprocessing), known)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a model of dalib's ({type(error).__name__}: {error})") from None


def _known_rule(content: dict[str, Any]) -> KnownRule:
    if content["score"] != SCORE:
        raise ValueError(f"known: score: expected {SCORE}, got {content['score']!r}; update dalib")
    numbers = content["threshold"], content["scale"]
    if not all(isinstance(number, int | float) for number in numbers):
        raise ValueError(f"known: threshold, scale: expected numbers, got {numbers!r}")
    return KnownRule(*map(float, numbers))


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """Reads the tensors of model.safetensors.

    Raises:
        UserError: no such file, or a damaged one, also one with NaN in it.
    """
    path = folder / "model.safetensors"
    try:
        found = load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; is the run complete?") from None
    except SafetensorError as error:
        raise UserError(f"{path}: damaged ({error})") from None
    if name := nan_in(found):
        raise UserError(f"{path}: damaged ({name} is NaN)")
    return found


def nan_in(tensors: Mapping[str, Tensor]) -> str:
    """Returns the name of the first tensor with NaN in it, which as a weight predicts nothing; empty without any."""
    return next((name for name, each in tensors.items() if each.is_floating_point() and bool(each.isnan().any())), "")


def plain_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Returns copies of a model's tensors that safetensors writes.

    It refuses memory that two names share, and channels_last: each tensor gets plain memory of its own.
    """
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
