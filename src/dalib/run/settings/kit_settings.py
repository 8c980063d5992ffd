"""Settings that a run takes from what stands in for its source: a kit, or a model alone. Plain values, no torch.

A model alone is a folder with ``config.json`` and ``model.safetensors``, as ``dalib export RUN --format torch`` writes
it, or that ``model.safetensors`` itself. It has a network, classes and preprocessing, and no statistics of the source.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalib.core.errors import Call, Setting, UserError
from dalib.core.files import expanded, read_json
from dalib.core.words import as_one
from dalib.models.architecture import has_backbones_twice
from dalib.records.kit import read_header
from dalib.run.settings.backbones import JOINED
from dalib.run.settings.image_defaults import settings_of_short_name
from dalib.run.settings.older_files import as_written_today
from dalib.run.settings.presets import configured, implied_preset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dalib.core.errors import Part

LEAST_INFORMATION, LEAST_PROTOTYPES = 0.1, 0.5
"""Weight of the information and share of the prototypes, at least, in a training of a whole network from a kit."""

WEIGHTS = "model.safetensors"

WITHOUT_EFFECT = {
    "weights": "the backbone's weights are those of the kit",
    "weights_order": "the backbone's weights are those of the kit",
    "baseline": "the source-only model is that of the kit",
    "baseline_steps": "the source-only model is that of the kit, and is not trained",
    "warm_start": "the adaptation starts from the model of the kit",
    "data.validation_share": "the validation images are those of the kit",
    "views.source": "no image of the source is there to be seen",
}
"""Settings that change nothing where a kit is in place of the source, each with the reason."""

_OF_ARCHITECTURE = ("bottleneck_dim", "bottleneck_norm", "dropout", "averaged_views", "frozen_norms")
_OF_PREPROCESSING = ("size", "crop", "channels", "fit", "interpolation")


def settings_of_kit(place: str | Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that a kit or a model alone gives, by their dotted names, without those that are given.

    Args:
        place: file or folder.
        given: settings of the user, whose names are looked at, and the values of ``preset``, ``backbone`` and
            ``features``.

    Raises:
        UserError: no such file, or neither a kit nor a model; a setting that would change nothing; or another backbone.
    """
    folder = folder_of_model(place)
    found = as_written_today(read_header(place).settings) if folder is None else _settings_of_model(folder, given)
    _require_own_backbone(place, found.get("backbone"), given.get("backbone"))
    for name, reason in WITHOUT_EFFECT.items():
        if name in given:
            raise UserError(Setting(name), ": it has no effect with ", Setting("kit", str(place)), f", for {reason}")
    return {name: value for name, value in found.items() if name not in given}


def _require_own_backbone(place: str | Path, own: str | list[str] | None, given: object) -> None:
    """Refuses another backbone than that of the kit, before its weights are looked for.

    Raises:
        UserError: that.
    """
    named = settings_of_short_name(given, {}).get("backbone", given)
    if named is None or own is None or named in (own, [own]):
        return
    raise UserError(
        Setting("backbone", as_one(given) if isinstance(given, str | list | tuple) else given),
        ": ",
        Setting("kit", str(place)),
        f" brings its own backbone, {as_one(own)}, with its weights; leave it out",
    )


def folder_of_model(place: str | Path) -> Path | None:
    """Returns the folder of a model alone; None for whatever else, such as a kit.

    Raises:
        UserError: weights without a description, or a run.
    """
    path, setting = Path(expanded(place)), Setting("kit", str(place))
    weights = path.suffix == ".safetensors"
    if not weights and not path.is_dir():
        return None
    folder = path.parent if weights else path
    if (folder / "summary.json").is_file():
        raise UserError(
            setting,
            ": a run; expected a kit of it, which `",
            Call("dalib.run.export.export", Setting("run", path), Setting("format", "kit")),
            f"` writes where its source is, or, without what the judgement takes from a kit, {folder / 'model'}",
        )
    if (path.is_file() and path.name != WEIGHTS) or not (folder / "config.json").is_file():
        raise UserError(
            setting,
            f": expected a kit, or a folder with {WEIGHTS} and the config.json that describes its network, classes and "
            "preprocessing, as `",
            Call("dalib.run.export.export", Setting("run", "RUN"), Setting("format", "torch")),
            "` writes it",
        )
    return folder


def _settings_of_model(folder: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    content = read_json(folder / "config.json")
    try:
        architecture, preprocessing = content["architecture"], content["preprocessing"]
        found = {"backbone": architecture["backbone"], "prior": "uniform"}  # the source's shares are not known
        found |= {f"model.{name}": architecture[name] for name in _OF_ARCHITECTURE if name in architecture}
        if (mirrored := architecture.get("mirrored")) is not None:
            found["views.flip"] = "always" if mirrored else "never"
        found |= {f"data.{name}": preprocessing[name] for name in _OF_PREPROCESSING if preprocessing[name] is not None}
    except (KeyError, TypeError):
        raise UserError(Setting("kit", folder), *_not_of_dalib(folder, content)) from None
    names = found["backbone"]
    twice = isinstance(names, list) and has_backbones_twice(names)
    if twice:  # features with pretrained statistics beside those with the target's own, which a run makes anew
        half = names[: len(names) // 2]
        found |= {"backbone": half if len(half) > 1 else half[0], "model.domain_statistics": JOINED}
    preset = given.get("preset") or implied_preset(found["backbone"])
    own, features = asdict(configured(preset, {})), given.get("features")
    if str(own["features"] if features is None else features) == "0":  # a command line's is not parsed yet
        if twice:
            raise UserError(
                Setting("kit", folder),
                ": its backbone stands there twice, with pretrained statistics and with those of its own target (",
                Setting("model.domain_statistics", JOINED),
                "), and is not trained as a whole; expected ",
                Setting("features", 4),
                " or more, as ",
                Setting("preset", "photo-features"),
                " has it, or the model of a run with ",
                Setting("model.domain_statistics", 0),
            )
        found |= settings_of_whole(own)
    return found


def _not_of_dalib(folder: Path, content: Any) -> tuple[str | Part, ...]:
    """Explains the folder of a model that dalib did not write, with the remedy, for an error."""
    torch = Call("dalib.run.export.export", Setting("run", "RUN"), Setting("format", "torch"))
    expected: tuple[str | Part, ...] = ("; expected a kit, or a folder that `", torch, "` wrote")
    if (settings := weights_of_timm(folder)) is not None:
        return (
            ": a folder for timm, from which nothing is adapted without the source's images",
            *expected,
            ". Beside a source its weights are the first ones of the backbone: ",
            *settings,
        )
    if isinstance(content, dict) and "model_type" in content:
        return (
            ": a model of transformers, from which nothing is adapted",
            *expected,
            ". Its predictions for the target can be hints beside a source (",
            Setting("hints", "FILE"),
            ")",
        )
    return (": its config.json does not describe a network of dalib's", *expected)


def weights_of_timm(folder: Path) -> tuple[str | Part, ...] | None:
    """Returns the settings that start a training from the backbone in a folder for timm; None of other folders."""
    described, weights = folder / "config.json", folder / WEIGHTS
    content = read_json(described) if described.is_file() and weights.is_file() else None
    name = content.get("architecture") if isinstance(content, dict) else None
    return (Setting("backbone", name), " ", Setting("weights", weights)) if isinstance(name, str) else None


def settings_of_whole(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that differ where a whole network trains without source images, by dotted names.

    There are no source images to hold the layers below the head: information and prototypes do, as in SHOT, and a rate
    that was for an adaptation from scratch is a quarter of it, because this one begins at the source-only model.

    >>> shared = {"optimizer": {"lr": 0.004}, "self_ensemble": {"information": 0.2, "prototypes": 0.0}}
    >>> settings_of_whole({**shared, "warm_start": False})
    {'self_ensemble.information': 0.2, 'self_ensemble.prototypes': 0.5, 'optimizer.lr': 0.001}
    >>> settings_of_whole({**shared, "warm_start": True})
    {'self_ensemble.information': 0.2, 'self_ensemble.prototypes': 0.5}
    """
    own = settings["self_ensemble"]
    changed = {
        "self_ensemble.information": max(own["information"], LEAST_INFORMATION),
        "self_ensemble.prototypes": max(own["prototypes"], LEAST_PROTOTYPES),
    }
    if not settings["warm_start"]:
        changed["optimizer.lr"] = settings["optimizer"]["lr"] / 4
    return changed
