"""A model on disk: config.json beside model.safetensors. Nothing in it is ever unpickled."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from dalib._version import __version__
from dalib.data.preprocessing import Preprocessing
from dalib.errors import UserError
from dalib.runfolder import read_json, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

FORMAT = 1


@dataclass(frozen=True)
class ModelDescription:
    """All that is needed to build the network again and to feed it."""

    architecture: dict[str, Any]
    """What :func:`dalib.build.make_classifier` takes, beside the number of classes."""
    classes: tuple[str, ...]
    preprocessing: Preprocessing


def save_model(folder: Path, model: nn.Module, description: ModelDescription) -> None:
    """Write ``folder`` whole or not at all; replaces one that is there."""
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    # safetensors refuses memory that two names share, and channels_last: each tensor gets plain memory of its own
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    (temporary / "model.safetensors").write_bytes(save(tensors))
    write_json(
        temporary / "config.json",
        {
            "format": FORMAT,
            "dalib": __version__,
            "architecture": description.architecture,
            "classes": list(description.classes),
            "preprocessing": asdict(description.preprocessing),
        },
    )
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)  # noqa: PTH105 - the name that says it is atomic


def load_description(folder: Path) -> ModelDescription:
    """What config.json says.

    Raises:
        UserError: no such file, not ours, of a newer format, or with values that do not fit.
    """
    path = folder / "config.json"
    content = read_json(path)
    try:
        if content["format"] > FORMAT:
            raise UserError(
                f"{path}: written in format {content['format']}; this version reads up to {FORMAT}: update dalib"
            )
        preprocessing = content["preprocessing"]
        for name in ("mean", "std"):
            if preprocessing[name] is not None:
                preprocessing[name] = tuple(preprocessing[name])
        return ModelDescription(content["architecture"], tuple(content["classes"]), Preprocessing(**preprocessing))
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a model of dalib's ({type(error).__name__}: {error})") from None


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of model.safetensors.

    Raises:
        UserError: no such file, or a damaged one.
    """
    path = folder / "model.safetensors"
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; is the run complete?") from None
    except SafetensorError as error:
        raise UserError(f"{path}: damaged ({error})") from None
