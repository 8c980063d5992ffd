"""Recipes with a name: what each sets apart from the defaults of :mod:`dalib.run.settings.config`; loads no torch."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from dalib.core.checked_settings import described, kinds_of
from dalib.core.errors import UserError
from dalib.core.words import meant, meant_setting
from dalib.run.settings.backbones import OUR_BACKBONES
from dalib.run.settings.config import TrainConfig, by_name
from dalib.run.settings.once_shared import inherited

if TYPE_CHECKING:
    from collections.abc import Container, Mapping


#: Settings by their names on the command line, ``optimizer.lr`` for instance.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # the paper's recipe for MNIST <-> USPS, to the letter; hours on a CPU
        "paper-small": {
            "baseline": False,
            "warm_start": False,
            "select": "most-confident",
            "statistics": "running",
            "epochs": 300,
            "batch": 256,
            "data.size": 28,
            "data.validation_share": 0.0,
            "backbone": "paper-small",
            "model.bottleneck_dim": None,
            "model.averaged_views": 0,
            "views.source": "tfa",
            "views.student": "tfa",
            "views.teacher": "tfa",
            "self_ensemble.alpha": 0.99,
            "self_ensemble.alpha_warmup": False,
            "mean_teacher.alpha_warmup": False,
            "fixmatch.alpha_warmup": False,
            "adamatch.alpha_warmup": False,
            "self_ensemble.buffers": "own",
            "self_ensemble.distance": "squared",
            "self_ensemble.over_classes": "mean",
            "self_ensemble.weight": 3.0,
            "self_ensemble.threshold": 0.96837722,  # 1 - 10^-1.5
            "self_ensemble.ramp_up_steps": 0,
            "self_ensemble.class_balance": 0.0,
            "optimizer.name": "adam",
            "optimizer.lr": 1e-3,
            "optimizer.weight_decay": 0.0,
            "optimizer.schedule": "constant",
            "optimizer.label_smoothing": 0.0,
        },
        # ours for written characters: minutes on two cores
        "digits": {
            "warm_start": False,
            "statistics": "recomputed",
            "steps": 2000,
            "batch": 128,
            "precision": "auto",
            "data.size": 24,
            "data.fit": "ink",
            "data.validation_share": 0.05,
            "backbone": "digits",
            "model.bottleneck_dim": 256,
            "model.averaged_views": 8,
            "views.source": "strong-warp",
            "views.student": "strong-warp",
            "views.teacher": "weak-warp",
            "self_ensemble.teacher_dropout": False,
            "mean_teacher.teacher_dropout": False,
            "self_ensemble.threshold": 0.6,
            "self_ensemble.class_balance": 0.0,
            "optimizer.name": "adamw",
            "optimizer.lr": 4e-3,
            "optimizer.weight_decay": 0.05,
            "optimizer.schedule": "one-cycle",
            "optimizer.label_smoothing": 0.1,
        },
        # ours for characters in colour: the source is put before random textures, so that no ground and no ink is
        # usual. The last checkpoint, because among those that are nearly all right Corr-C took an early one
        "coloured-characters": {
            "select": "last",
            "statistics": "recomputed",
            "steps": 1000,
            "batch": 64,
            "data.size": 28,
            "data.channels": 3,
            "data.validation_share": 0.05,
            "backbone": "digits",
            "model.bottleneck_dim": 256,
            "model.averaged_views": 4,
            "views.source": "character-grounds",
            "views.student": "character-tones",
            "views.teacher": "weak-warp",
            "self_ensemble.teacher_dropout": False,
            "mean_teacher.teacher_dropout": False,
            "self_ensemble.threshold": 0.6,
            "self_ensemble.class_balance": 0.0,
            "optimizer.name": "adamw",
            "optimizer.lr": 4e-3,
            "optimizer.weight_decay": 0.05,
            "optimizer.schedule": "one-cycle",
            "optimizer.label_smoothing": 0.1,
        },
        # ours for photographs on a CPU: the backbone stays as it is, what follows it is trained on its features
        "photo-features": {
            "features": 4,
            "steps": 1500,
            "batch": 128,
            "prior": "halfway",
            "classes": "auto",
            "data.fit": "stretch",
            "model.bottleneck_dim": 256,
            "model.dropout": 0.5,
            "model.standardize": True,
            "model.frozen_stages": -1,
            "model.averaged_views": 2,
            "model.domain_statistics": "auto",
            "views.source": "photo",
            "views.student": "photo",
            "views.teacher": "photo",
            "self_ensemble.teacher_dropout": False,
            "mean_teacher.teacher_dropout": False,
            "self_ensemble.teacher_views": 3,
            "self_ensemble.over_classes": "sum",
            "self_ensemble.weight": 3.0,
            "self_ensemble.threshold": 0.5,
            "self_ensemble.ramp_up_steps": 300,
            "self_ensemble.class_balance": 0.0,
            "self_ensemble.information": 0.2,
            "self_ensemble.prototypes": 0.5,
            "optimizer.name": "adamw",
            "optimizer.lr": 1e-3,
            "optimizer.weight_decay": 0.01,
            "optimizer.schedule": "one-cycle",
            "optimizer.label_smoothing": 0.1,
        },
        # ours for photographs where there is a GPU, or from a run of photo-features (--init)
        "photo": {
            "steps": 3000,
            "batch": 32,
            "data.fit": "stretch",
            "model.bottleneck_dim": 256,
            "model.dropout": 0.5,
            "views.source": "photo",
            "views.student": "photo-strong",
            "views.teacher": "photo-weak",
            "self_ensemble.teacher_dropout": False,
            "mean_teacher.teacher_dropout": False,
            "self_ensemble.over_classes": "sum",
            "self_ensemble.weight": 3.0,
            "self_ensemble.threshold": 0.8,
            "self_ensemble.class_balance": 0.0,
            "self_ensemble.information": 0.1,
            "optimizer.name": "adamw",
            "optimizer.lr": 3e-4,
            "optimizer.weight_decay": 0.01,
            "optimizer.schedule": "one-cycle",
            "optimizer.label_smoothing": 0.1,
        },
        # Transfer-Learning-Library's example of self-ensembling, to the letter but for its choice of an epoch on test
        # labels, which nobody has
        "photo-tllib": {
            "baseline": False,
            "warm_start": False,
            "select": "last",
            "statistics": "running",
            "steps": 10_000,
            "batch": 36,
            "data.size": 256,
            "data.crop": 224,
            "data.fit": "stretch",
            "data.interpolation": "bilinear",
            "data.validation_share": 0.0,
            "model.bottleneck_dim": 256,
            "model.averaged_views": 0,
            "views.source": "photo-tllib",
            "views.student": "photo-tllib",
            "views.teacher": "photo-plain",
            "self_ensemble.alpha": 0.99,
            "self_ensemble.alpha_warmup": False,
            "mean_teacher.alpha_warmup": False,
            "fixmatch.alpha_warmup": False,
            "adamatch.alpha_warmup": False,
            "self_ensemble.buffers": "own",
            "self_ensemble.distance": "squared",
            "self_ensemble.over_classes": "sum",
            "self_ensemble.weight": 3.0,
            "self_ensemble.threshold": 0.8,
            "self_ensemble.ramp_up_steps": 0,
            "self_ensemble.class_balance": 0.01,
            "optimizer.name": "adam",
            "optimizer.lr": 1e-4,
            "optimizer.weight_decay": 0.0,
            "optimizer.schedule": "inverse-decay",
            "optimizer.label_smoothing": 0.0,
        },
        # the authors' code for VisDA and Office; how long it trains is our choice
        "photo-paper": {
            "baseline": False,
            "warm_start": False,
            "select": "most-confident",
            "statistics": "running",
            "epochs": 100,
            "batch": 56,
            "data.size": 176,
            "data.crop": 160,
            "data.validation_share": 0.0,
            "model.bottleneck_dim": 512,
            "model.bottleneck_norm": False,
            "model.dropout": 0.5,
            "model.frozen_stages": 2,
            "model.averaged_views": 16,
            "views.source": "photo-paper",
            "views.student": "photo-paper",
            "views.teacher": "photo-paper",
            "views.shared_crop": True,
            "self_ensemble.alpha": 0.99,
            "self_ensemble.alpha_warmup": False,
            "mean_teacher.alpha_warmup": False,
            "fixmatch.alpha_warmup": False,
            "adamatch.alpha_warmup": False,
            "self_ensemble.buffers": "own",
            "self_ensemble.distance": "squared",
            "self_ensemble.over_classes": "mean",
            "self_ensemble.weight": 10.0,
            "self_ensemble.threshold": 0.9,
            "self_ensemble.ramp_up_steps": 0,
            "self_ensemble.class_balance": 0.1,  # the authors' 0.01 times their weight
            "self_ensemble.balance_over_classes": "sum",
            "optimizer.name": "adam",
            "optimizer.lr": 1e-5,
            "optimizer.weight_decay": 0.0,
            "optimizer.schedule": "constant",
            "optimizer.label_smoothing": 0.0,
        },
    }
)


def from_preset(name: str, **settings: Any) -> TrainConfig:
    """Returns the configuration of a preset, changed by ``settings``.

    Nested settings are given with a dot: ``from_preset("digits", source="mnist", **{"optimizer.lr": 1e-3})``.

    Raises:
        ValueError: an unknown preset or setting.

    >>> from_preset("paper-small", source="mnist", target="usps").self_ensemble.weight
    3.0
    """
    return configured(name, settings)


def implied_preset(backbone: object) -> str | None:
    """Returns the preset that one or several backbones take where none is named; None for one of ours, or without.

    >>> implied_preset("resnet50"), implied_preset("small"), implied_preset(None)
    ('photo-features', None, None)
    """
    return None if backbone is None or backbone in OUR_BACKBONES else "photo-features"


def configured(preset: str | None, settings: Mapping[str, Any]) -> TrainConfig:
    """Returns the configuration of a preset, or the default one, changed by settings under their dotted names.

    Raises:
        ValueError: an unknown preset or setting.
    """
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, got {preset!r}")
    config = TrainConfig(preset=preset)  # type: ignore[arg-type] # one of the names, as just seen
    implied = {} if preset is None else values_of_preset(preset, settings)
    return with_inherited(with_settings(config, {**implied, **settings}), settings)


def with_inherited(config: TrainConfig, given: Container[str]) -> TrainConfig:
    """Returns the configuration with the values that its method inherits (:mod:`dalib.run.settings.once_shared`).

    Args:
        config: of a command line or a file.
        given: names of the settings that are given there.
    """
    values = by_name(config)
    return with_settings(config, {own: values[old] for own, old in inherited(config.method, given).items()})


def with_settings(config: TrainConfig, settings: Mapping[str, Any]) -> TrainConfig:
    """Returns the configuration with other values of settings, which are given under their dotted names.

    Raises:
        ValueError: no such setting, or another kind of value.
    """
    for setting, value in settings.items():
        config = changed(config, setting.split("."), value, setting)
    return config


def check_applied(config: TrainConfig) -> None:
    """Refuses a configuration that names a preset and has none of its settings.

    Raises:
        UserError: such as ``TrainConfig(preset="digits")``, whose other fields are the defaults.
    """
    if config.preset is None:
        return
    now, fresh = by_name(config), by_name(TrainConfig())
    own = [setting for setting, value in PRESETS[config.preset].items() if value != fresh[setting]]
    if all(now[setting] == fresh[setting] for setting in own):
        raise UserError(
            f"preset={config.preset!r}: the configuration has none of this preset's settings; make it with "
            f"dalib.run.settings.presets.from_preset({config.preset!r}, source=..., target=...)"
        )


def values_of_preset(name: str, given: Container[str]) -> dict[str, Any]:
    """Returns the settings of a preset that are not ``given``; its length is dropped if another is given."""
    return {setting: value for setting, value in defaults_of(name, given).items() if setting not in given}


def defaults_of(name: str, given: Container[str]) -> dict[str, Any]:
    """Returns the values of a preset, also in place of those ``given``; its length is dropped if another is given."""
    lengths = ("steps", "epochs", "time_limit")
    other_length = any(setting in given for setting in lengths)
    return {setting: value for setting, value in PRESETS[name].items() if not (other_length and setting in lengths)}


def _not_known(config: Any, path: list[str], setting: str) -> str:
    """Explains the error of a setting of which ``config`` has no field ``path[0]``."""
    group = ".".join(setting.split(".")[: -len(path)])
    if not is_dataclass(config):
        kind = described(kinds_of(TrainConfig)[group]) if group in kinds_of(TrainConfig) else "one value"
        return f"{setting}: no such setting; {group} is no group of settings, expected {kind}"
    if group:
        own = [each.name for each in fields(config)]
        # by the name within the group: all that begins with the group's name is near to each other
        near = meant(path[0], own).replace("mean ", f"mean {group}.") or f"; {group} has {', '.join(own)}"
        return f"{setting}: no such setting{near}"
    near = meant_setting(setting, by_name(TrainConfig())) or "; dalib.run.settings.config.TrainConfig lists them"
    return f"{setting}: no such setting{near}"


def changed(config: Any, path: list[str], value: Any, setting: str) -> Any:
    """Returns the configuration with another value of a setting, given by its name and by the parts of its name.

    Raises:
        ValueError: no such setting, or another kind of value.
    """
    name, *rest = path
    if not is_dataclass(config) or not hasattr(config, name):
        raise ValueError(_not_known(config, path, setting))
    if rest:
        value = changed(getattr(config, name), rest, value, setting)
    try:
        return replace(config, **{name: value})  # type: ignore[type-var]
    except UserError as error:
        group = setting.rpartition(".")[0]
        if rest or not group:
            raise
        raise UserError(f"{group}.{error}") from None  # a group knows its own names alone
