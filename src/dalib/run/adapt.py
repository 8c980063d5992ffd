"""A run from Python: ``dalib.adapt`` trains as ``dalib train`` does, and returns a :class:`dalib.run.opened.Run`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalib.core.console import say
from dalib.core.errors import UserError
from dalib.core.files import expanded
from dalib.core.places import where_it_lies
from dalib.core.random_states import random_states_kept
from dalib.records.folder import RunFolder
from dalib.records.several import SeveralFolder
from dalib.run.opened import Run, Runs
from dalib.run.settings.config import NOT_BOTH
from dalib.run.settings.config_file import backbone_of_run, read_plain_config
from dalib.run.settings.given_places import (
    Place,
    check_before_kept,
    place_of_labelled,
    place_of_source,
    place_of_target,
    place_of_targets,
)
from dalib.run.settings.image_defaults import (
    network_of_preset,
    require_weights_of_short_names,
    settings_of_images,
    settings_of_short_name,
)
from dalib.run.settings.kit_settings import settings_of_kit
from dalib.run.settings.presets import configured, implied_preset
from dalib.run.timing.opening import say_opening

if TYPE_CHECKING:
    from collections.abc import Callable

    from dalib.judge.evidence import Evidence
    from dalib.run.opened import Indexed
    from dalib.run.settings.config import TrainConfig
    from dalib.run.track import Tracker


@random_states_kept()
def adapt(
    source: str | Path | Indexed | None = None,
    target: str | Path | Indexed | None = None,
    *,
    config: TrainConfig | None = None,
    resume: str | Path | None = None,
    allow_changes: bool = False,
    trackers: Sequence[Tracker] = (),
    on_evidence: Callable[[str, int, Evidence], None] | None = None,
    **settings: Any,
) -> Run:
    """Trains on labelled source images and unlabelled target images as ``dalib train`` does, and returns the run.

    Images that are objects are kept as files in the cache, once for all runs; ``dalib cache ls`` lists them. The global
    random generators of Python, numpy and torch are left as they were.

    Args:
        source: labelled images, one of these:

            * a folder with a folder of images for each class, list file, or name of a data set; or several of these;
            * a pair ``(images, labels)``. Images are an array or a tensor (N, H, W), (N, H, W, C) or (N, C, H, W) with
              1, 3 or 4 channels, uint8 or floats from 0 to 1, or a list or series. Labels are numbers or class names;
            * a list of pairs ``(image, label)``; an image is a path, a PIL image, an array or a tensor;
            * a data frame of path and label, and a column of ``groups`` where it is to be used;
            * a map-style data set of torch, class names in ``.classes`` or none;
            * a data set of Hugging Face's ``datasets`` with a column of images and one of labels.
        target: folder, list file, name of a data set, list of paths, or images as objects; labels are not used.
        config: the whole configuration in place of everything else.
        resume: folder of a run that was stopped, to resume it as it was configured. If images that were objects have
            gone from the cache, ``source``, ``target`` and ``evaluate`` put them back.
        allow_changes: with ``resume``, whether images and settings may differ from what they were.
        trackers: called at the events of the run; see :mod:`dalib.run.track`.
        on_evidence: called at each evaluation with the training's name, its step, and its model's predictions.
        settings: fields of :class:`dalib.run.settings.config.TrainConfig`, such as ``out="runs/first"``,
            ``preset="digits"`` or ``steps=500``. Groups are dictionaries: ``optimizer={"lr": 1e-4}``. ``evaluate``
            takes labelled images of any kind. ``hints`` and ``target_labels`` take a file, a dictionary of images and
            classes, a data frame, or values in the target's order (:func:`dalib.run.others.hints.hints_file`,
            :func:`dalib.run.others.given_labels.labels_file`). ``kit`` names a file of ``dalib export --format kit``,
            or the folder of a model alone, in place of ``source``. A backbone of timm's without a preset takes the
            preset photo-features, as photographs without a backbone do.

    Returns:
        The finished run.

    Raises:
        UserError: bad input, before anything is trained.
        RunStoppedError: Ctrl-C; the step is saved, and ``adapt(resume=...)`` resumes from there.
    """
    _require_one(target)
    _check_changes_allowed(allow_changes, resume)
    given = {"source": source, "target": target}
    if resume is None:
        images = [name for name, value in given.items() if value is not None]
        _check_alone({"config": config}, images + list(settings))
        config = config or _configuration(source, target, settings)
    else:
        given["evaluate"] = settings.pop("evaluate", None)
        _check_alone({"config": config, "resume": resume}, list(settings))
        config = _of_run(resume, given)
    return _trained(config, resume, {"allow_changes": allow_changes, "trackers": trackers, "on_evidence": on_evidence})


def _trained(config: TrainConfig, resume: str | Path | None, options: Mapping[str, Any]) -> Run:
    """Names the images, and trains; ``options`` are those of :func:`dalib.run.train.train`."""
    say_opening(config.source, config.target, kit=config.kit, resume=resume)
    from dalib.run.train import train  # torch takes seconds to import

    return Run(train(config, resume=resume is not None, **options))


@random_states_kept()
def adapt_each(
    source: str | Path | Indexed | None = None,
    targets: Mapping[str, Any] | None = None,
    *,
    config: TrainConfig | None = None,
    resume: str | Path | None = None,
    allow_changes: bool = False,
    trackers: Sequence[Tracker] = (),
    on_evidence: Callable[[str, int, Evidence], None] | None = None,
    **settings: Any,
) -> Runs:
    """Adapts to each of several targets by a run of its own; the source's features and model are computed once.

    A dictionary distinguishes several targets from one target that is a list of images, and names the folder of each
    run.

    Args:
        source: labelled images, as :func:`adapt` takes them.
        targets: target of each name, as :func:`adapt` takes them: ``{"street": "street/", "night": images}``.
        config: the whole configuration in place of everything else; its ``target`` is a dictionary of names and places.
        resume: folder of several targets, to train those that are not finished.
        allow_changes: with ``resume``, whether images and settings may differ from what they were.
        trackers: called at the events of each run.
        on_evidence: called at each evaluation, see :func:`adapt`.
        settings: as :func:`adapt` has them. ``evaluate`` is a dictionary, of some of the targets' names and labelled
            images. ``target_labels``, ``hints`` and ``time_limit`` are for one target alone.

    Returns:
        The finished runs by the names of their targets.

    Raises:
        UserError: bad input, before anything is trained.
        TrainingDivergedError: one of the runs diverged; the others are finished.
        RunStoppedError: Ctrl-C; ``adapt_each(resume=...)`` resumes from there.
    """
    images = [name for name, value in (("source", source), ("targets", targets)) if value is not None]
    _check_alone({"config": config, "resume": resume}, images + list(settings))
    _check_changes_allowed(allow_changes, resume)
    if resume is not None:
        folder = SeveralFolder.existing(resume)
        config = read_plain_config(folder.config, out=str(folder.root))
    elif config is None:
        if not isinstance(targets, Mapping) or not targets:
            raise UserError(f"targets: expected a dictionary of names and targets, got {type(targets).__name__}")
        _check_several(targets, settings.get("evaluate"))
        config = _configuration(source, dict(targets), settings)
    say_opening(config.source, config.target, kit=config.kit, resume=resume)
    from dalib.run.several import Options, train_several  # torch takes seconds to import

    options = Options(allow_changes=allow_changes, trackers=trackers, on_evidence=on_evidence)
    return Runs(train_several(config, resume=resume is not None, options=options))


def _require_one(target: object) -> None:
    if type(target) is dict:
        raise UserError(
            "target: expected images, or their place, got a dictionary; for several targets, each of which gets a run "
            "of its own: dalib.adapt_each(source, {name: target})"
        )


def _check_several(targets: Mapping[Any, object], evaluated: object) -> None:
    """Raises UserError: names that are no text, or labelled images of no target; before any images are kept."""
    strange = next((name for name in targets if not isinstance(name, str)), None)
    if strange is not None:
        raise UserError(f"targets: expected names that are text, each of which is a run's folder, got {strange!r}")
    if evaluated is not None and not isinstance(evaluated, dict):
        raise UserError(
            f"evaluate: expected a dictionary of targets' names and labelled images, got {type(evaluated).__name__}; "
            f"such as evaluate={{{next(iter(targets))!r}: labelled}}"
        )


def _check_alone(either: Mapping[str, object], others: Sequence[str]) -> None:
    """Raises UserError: two of the arguments that configure a run alone, or one of them and ``others``."""
    given = [name for name, value in either.items() if value is not None]
    if given and (len(given) > 1 or others):
        raise UserError(
            f"{given[0]}: expected alone, got {', '.join([*given[1:], *others])} with it; a run is configured by "
            "source, target and settings, or by config, or resumed"
        )


def _check_changes_allowed(allow_changes: bool, resume: object) -> None:
    """Raises UserError: changes are allowed without a run that is resumed."""
    if allow_changes and resume is None:
        raise UserError("allow_changes=True: expected resume with it, the folder of the run that may have changed")


def _configuration(source: object, target: object, settings: Mapping[str, Any]) -> TrainConfig:
    kit = settings.get("kit")
    if kit is not None:
        if source is not None:
            place = isinstance(source, str | Path)
            given = f"source={source!r}" if place else f"source ({type(source).__name__})"
            raise UserError(f"{given}: expected no source with kit={str(kit)!r}{NOT_BOTH}")
        source = str(kit)
    for name, value in (("source", source), ("target", target)):
        if value is None:
            raise UserError(
                f"{name}: expected a folder, a list file or the name of a data set, got nothing; arrays, lists and "
                "data sets do as well"
            )
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        group = isinstance(value, dict) and name not in ("hints", "evaluate", "target_labels")
        flat |= {f"{name}.{part}": each for part, each in value.items()} if group else {name: value}
    evaluated = flat.pop("evaluate", None)
    if flat.get("hints") is not None:
        from dalib.run.others.hints import hints_file

        flat["hints"] = hints_file(flat["hints"])
    if flat.get("target_labels") is not None:
        from dalib.run.others.given_labels import labels_file

        flat["target_labels"] = labels_file(flat["target_labels"], target)
    if kit is not None:
        flat = {**settings_of_kit(str(source), flat), **flat, "kit": source}
    if isinstance(flat.get("init"), str | os.PathLike) and flat.get("backbone") is None:
        flat["backbone"] = backbone_of_run(flat["init"])
    _configured(flat)  # mistakes in settings are told before images are read
    strict = bool(flat.get("strict", False))
    check_before_kept(None if kit is not None else source, target, evaluated)
    column = flat.get("groups")  # of a data frame
    if type(target) is dict:
        target_place = place_of_targets(target, strict, column)
    else:
        target_place = place_of_target(target, strict, column=column)
    source_place = Place(source, source) if kit is not None else place_of_source(source, strict, column)
    flat |= {"source": source_place.name, "target": target_place.name}
    if evaluated is not None:
        several = evaluated if isinstance(evaluated, dict) else {"": evaluated}
        places = {name: place_of_labelled(each, "evaluate", strict, column).name for name, each in several.items()}
        flat["evaluate"] = places if isinstance(evaluated, dict) else places[""]
    chosen, note = settings_of_images(source_place.looked_at, target_place.looked_at, flat)
    if note:
        filled = note.format(
            other='backbone=..., weights="hub"',
            none='backbone="small"',
            lite0='backbone="lite0"',
            digits='preset="digits"',
            flip='views={"flip": "always"}',
        )
        say(f"note: {filled}")
    return _configured({**flat, **chosen})


def _configured(flat: Mapping[str, Any]) -> TrainConfig:
    """Returns the configuration of settings under their dotted names."""
    of_short_name = settings_of_short_name(flat.get("backbone"), flat)
    require_weights_of_short_names(flat.get("backbone"), of_short_name)
    settings = {**flat, **network_of_preset(flat), **of_short_name}
    preset = settings.pop("preset", None) or implied_preset(settings.get("backbone"))
    try:
        return configured(preset, settings)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(str(error)) from None


def _of_run(resume: str | Path, given: Mapping[str, object]) -> TrainConfig:
    """Returns the configuration of a run to resume; its images that are given are kept once more."""
    folder = RunFolder.existing(resume, "resume")
    config = read_plain_config(folder.config, out=str(folder.root))
    _put_back(config, given)
    return config


def _put_back(config: TrainConfig, given: Mapping[str, Any]) -> None:
    """Keeps the images of a run that is resumed once more, where they are given.

    Raises:
        UserError: other images than the run's.
    """
    for argument, images in given.items():
        if images is None:
            continue
        if argument == "source":
            place = place_of_source(images, config.strict, config.groups)
        elif argument == "target":
            place = place_of_target(images, config.strict, column=config.groups)
        else:
            place = place_of_labelled(images, argument, config.strict, config.groups)
        own = _as_texts(getattr(config, argument))
        if [*map(where_it_lies, _as_texts(place.name))] != [*map(where_it_lies, own)]:
            has = f"not the images that the run has ({', '.join(own)})" if own else "the run has none"
            raise UserError(f"{argument}: {has}; leave it out, or begin a new run without resume")


def _as_texts(places: Any) -> list[str]:
    return [expanded(each) for each in (places if isinstance(places, list | tuple) else [places]) if each is not None]
