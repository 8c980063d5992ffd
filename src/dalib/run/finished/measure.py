"""``dalib eval``: measures the models of a run against labels, which select the better one."""

from __future__ import annotations

import hashlib
import math
import shutil
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, cast

from dalib.core.console import CountedProgress, say, say_note, say_result, say_unreadable
from dalib.core.devices import choose_device
from dalib.core.errors import Call, Setting, UserError
from dalib.core.files import name_of_path, required_path
from dalib.core.places import in_short, same_place, where_it_lies
from dalib.core.refusals import require_writable
from dalib.core.words import counted, range_in_words, share_in_words
from dalib.data.labels import is_query
from dalib.data.named import NAMED, default_evaluation
from dalib.data.sources import BUILT_IN_LABELLED, open_labelled
from dalib.engine.predict import predict_probabilities
from dalib.judge.accuracy import accuracy_interval, calibration_error, confusion_matrix, reliability_bins
from dalib.judge.paired import paired_difference_interval, paired_test
from dalib.judge.unknown import harmonic_mean, open_set_accuracies
from dalib.models.network import load_classifier, make_classifier, make_predictor
from dalib.models.saved import load_description
from dalib.records.candidates import ordered
from dalib.records.content import utc_now
from dalib.records.estimate import Calibration, OpenSet, Share
from dalib.records.evaluation import Evaluation, MeasuredModel, Paired
from dalib.records.folder import RunFolder, models_of
from dalib.records.selection import Measurement
from dalib.records.summary import Summary
from dalib.report.sheets import write_mistakes
from dalib.run.features.fastest import Precision, features_folder, precision_named
from dalib.run.features.feature_space import Averaged, FeatureSpace
from dalib.run.finished.groups import groups_of_labelled
from dalib.run.finished.select import sentence_of_one, settle

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import Tensor

    from dalib.data.domain_images import LabelledImages
    from dalib.data.reading_options import CachePolicy
    from dalib.data.rows import Rows
    from dalib.judge.groups import Integers
    from dalib.models.known import KnownRule
    from dalib.records.selection import ModelName


def evaluate(
    run: RunFolder | str | Path,
    data: str,
    *,
    device: str = "auto",
    strict: bool = False,
    root: str | None = None,
    download: bool = False,
    cache: CachePolicy = "disk",
    groups: str | None = None,
) -> Evaluation:
    """Measures every model of the run against labels, and keeps the result in the run's folder.

    Where the 95% interval of the difference leaves out 0, the better model becomes the selected one, unless the user
    has chosen (:func:`dalib.run.finished.select.keep`), or the images are those of the run's source.

    Args:
        data: a folder with a folder of images for each class, ``digits-held-out``, or a named test set.
        root, download: where named sets are, and whether to fetch one that is not there.
        cache: where decoded images are kept, as for ``train``.
        groups: images that belong together (:func:`dalib.data.groups.find_groups`); None takes the run's definition.

    Returns:
        What is written to ``evaluations/NAME.json``.
    """
    run, data = RunFolder.of(run), required_path(data, "data")
    if is_query(data):
        raise UserError(
            Setting("data", data),
            ": a list of `",
            Call("dalib.run.finished.query.query"),
            "`, whose images were chosen where labels tell most; expected ",
            Setting("labels", data),
            ", which accounts for that",
        )
    description = load_description(next(iter(models_of(run).values())))
    require_writable(run.root, Setting("run", run.root))
    where = choose_device(device)
    with CountedProgress(f"reading {in_short(data)}") as progress:
        labelled = open_labelled(
            data,
            description.preprocessing,
            description.classes,
            others=description.known is not None,
            strict=strict,
            root=root,
            download=download,
            cache=cache,
            on_progress=progress,
            on_note=say_note,
        )
    result = measure(run, data, labelled, where, groups=groups)
    decide(run, result)
    return result


def decide(run: RunFolder, result: Evaluation, *, held: bool = False) -> None:
    """Lets what :func:`measure` returned decide the run's selection, and prints what came of it.

    Args:
        held: whether the caller holds the run's lock, as a training does.
    """
    measured = measurement_of(result, run.selection().model)
    if measured is None:
        say_result(sentence_of_one(run))
        return
    if _is_of_source(run, measured.data):
        data = in_short(measured.data)
        say_result(f"{data} is of the run's source and says nothing of the target. {run.selection().sentence}")
        return
    say_result(settle(run, measured, held=held))
    say_if_optimistic(run, "evaluation", measured.data)


def measurement_of(result: Evaluation, selected: ModelName) -> Measurement | None:
    """Returns the accuracies of the selected model and the best other one, and their difference; None for one model.

    The adapted one comes first, or source-only last.
    """
    others = [name for name in result.models if name != selected]
    if selected not in result.models or not others:
        return None
    rival = max(others, key=lambda name: result.models[name].accuracy)
    first, second = (each.name for each in reversed(ordered([selected, rival])))
    pair, count = result.compared(first, second), result.count
    if pair is None:
        return None
    low, high = pair.interval or paired_difference_interval(pair.only_first, pair.only_second, count)
    return Measurement(
        result.data,
        "evaluation",
        count,
        cast("ModelName", first),
        cast("ModelName", second),
        (result.models[first].accuracy, result.models[second].accuracy),
        (pair.only_first - pair.only_second) / count,
        low,
        high,
        result.groups,
    )


def say_if_optimistic(run: RunFolder, labels: str, data: str) -> None:
    """Prints a warning where the model was selected by these very labels."""
    selection = run.selection()
    if selection.chosen_on(labels, data):
        say(
            f"note: the {selection.model} model was selected by these labels, so its accuracy on them is a little too "
            "high; for a fair number measure on labels that had no part in selecting it"
        )


def _is_of_source(run: RunFolder, data: str) -> bool:
    """Returns whether the labelled set is one of the run's sources or its test set, and not of the target."""
    summary = Summary.read(run.summary)
    sources, target = summary.run_settings.sources or (summary.source,), summary.target
    if data in (target, default_evaluation(target)):
        return False
    return any(data in (source, default_evaluation(source)) or same_place(source, data) for source in sources)


def measure(
    run: RunFolder,
    data: str,
    labelled: LabelledImages,
    device: torch.device,
    *,
    asked: bool = True,
    groups: str | None = None,
) -> Evaluation:
    """Measures every model of the run on ``labelled``, prints and writes the result.

    Args:
        data: the labelled set, as it was given.
        asked: whether the user asked for it.
        groups: images that belong together; None takes the run's definition.
    """
    together = groups_of_labelled(run, data, labelled, groups)
    folders = models_of(run)
    rules = {name: load_description(folder).known for name, folder in folders.items()}
    precision = precision_named(Summary.read(run.summary).run_settings.feature_precision)
    predictions = {
        name: answers(_predicted(folder, labelled.images, data, device, precision), rules[name])
        for name, folder in folders.items()
    }
    say_unreadable(labelled.unreadable)
    labels = labelled.labels
    right = {name: probabilities.argmax(dim=1) == labels for name, probabilities in predictions.items()}
    models = {
        name: _measured(each, labels, len(labelled.classes), together, others=rules[name] is not None)
        for name, each in predictions.items()
    }
    _say_measured(models, f"{counted(len(labels), 'image')} of {in_short(data)}")
    in_pairs = combinations([each.name for each in reversed(ordered(right))], 2)
    paired = tuple(_paired(one, other, right, together) for one, other in in_pairs)
    file = _file_of(run, data)
    pictures = run.mistakes / file
    shutil.rmtree(pictures, ignore_errors=True)  # those of an earlier measurement
    result = Evaluation(
        data,
        len(labels),
        models,
        tuple(labelled.classes),
        utc_now(),
        asked,
        paired or None,
        groups=None if together is None else len(set(together.tolist())),
        unknown=_share_of_unknown(labelled, together) if any(rules.values()) else None,
    )
    compared = {name: predictions[name] for name in ("adapted", result.baseline) if name in predictions}
    shown = write_mistakes(pictures, labelled, compared or predictions)
    result = replace(result, pictures=file, mistakes=shown)
    result.write(run.evaluations / f"{file}.json")
    return result


def _say_measured(models: Mapping[str, MeasuredModel], images: str) -> None:
    """Prints the accuracy of each model on the images."""
    for name, each in models.items():
        ends = range_in_words(*each.interval)
        say_result(f"{name:12} {share_in_words(each.accuracy)} of {images} ({ends})")
        if each.open_set is not None:
            say_result(f"{'':12} {each.open_set.in_words()}")


def _file_of(run: RunFolder, data: str) -> str:
    """Returns the name of an evaluation's file: two folders of one name are two evaluations, the same folder is one.

    So is a named set, wherever the command is given; one that an older version measured keeps its file.
    """
    if data in BUILT_IN_LABELLED:
        return data
    if data in NAMED:
        older = sorted(run.evaluations.glob(f"{slug(data)}-*.json"))
        return next((each.stem for each in older if Evaluation.read(each).data == data), slug(data))
    return f"{slug(data)}-{hashlib.blake2b(where_it_lies(data).encode(errors='replace')).hexdigest()[:6]}"


def _paired(one: str, other: str, right: Mapping[str, Tensor], groups: Integers | None) -> Paired:
    """Returns the comparison of two models by the images that each gets right."""
    first, second = right[one], right[other]
    counts = int((first & ~second).sum()), int((second & ~first).sum())
    if groups is None:
        return Paired(one, other, *counts)
    tested = paired_test(first.numpy(), second.numpy(), groups)
    return Paired(one, other, *counts, tested.p, tested.interval)


def _measured(
    probabilities: Tensor, labels: Tensor, num_classes: int, groups: Integers | None, *, others: bool = False
) -> MeasuredModel:
    """Returns the measurement of one model's predictions (N, C) against the labels (N,).

    Args:
        others: the last class is unknown.
    """
    predicted = probabilities.argmax(dim=1)
    right = predicted == labels
    bins = reliability_bins(probabilities, labels)
    return MeasuredModel(
        int(right.sum()) / len(labels),
        accuracy_interval(right, groups),
        tuple(map(tuple, confusion_matrix(labels, predicted, num_classes).tolist())),
        Calibration(calibration_error(bins), bins),
        _open_set(predicted, labels, num_classes - 1, groups) if others else None,
    )


def answers(probabilities: Tensor, rule: KnownRule | None) -> Tensor:
    """Returns a model's probabilities, of one more class, unknown, where it expects images of none of its classes."""
    return probabilities if rule is None else rule.answers(probabilities)


def _share_of_unknown(labelled: LabelledImages, groups: Integers | None) -> Share:
    """Returns the share of images of the class unknown, the last one."""
    unknown = labelled.labels == len(labelled.classes) - 1
    return Share(float(unknown.double().mean()), *accuracy_interval(unknown, groups))


def _open_set(predicted: Tensor, labels: Tensor, num_classes: int, groups: Integers | None) -> OpenSet:
    """Returns the measures on known and unknown images, with unknown as the number C."""
    rows = (labels < num_classes).nonzero().flatten()
    of_known = Share(None, None, None)
    if len(rows):
        right = predicted[rows] == labels[rows]
        part = None if groups is None else groups[rows.numpy()]
        of_known = Share(float(right.double().mean()), *accuracy_interval(right, part))
    return open_set_of(of_known, *open_set_accuracies(predicted, labels, num_classes))


def open_set_of(of_known: Share, known: float, unknown: float) -> OpenSet:
    """Returns the record of accuracies; those without an image are NaN."""
    a, b = (None if math.isnan(each) else each for each in (known, unknown))
    return OpenSet(of_known, a, b, None if a is None or b is None else harmonic_mean(a, b))


def _predicted(folder: Path, rows: Rows, source: str, device: torch.device, precision: Precision) -> Tensor:
    """Probabilities (N, K) of a saved model; where its backbone is frozen, from features that are kept for the next.

    Features are of the precision that the run trained on: those of the target are at hand then.
    """
    model, description = load_classifier(folder)
    architecture = description.architecture
    if not architecture.trained_on_features:
        predictor = make_predictor(model, architecture).eval().to(device)
        with CountedProgress(f"predictions for {in_short(source)}", brief=True) as progress:
            return predict_probabilities(
                predictor, rows, description.preprocessing.normalize, device=device, on_progress=progress
            )
    averaged = Averaged.of(architecture)
    space = FeatureSpace.of(model, description.preprocessing, features_folder(), device, averaged, precision)
    inputs = space.inputs(architecture)
    head = make_classifier(inputs.architecture, len(description.classes))
    head.load_state_dict(space.without_backbone(model.state_dict()))
    with CountedProgress(f"features of {in_short(source)}, plain") as progress:
        features = space.plain(rows, source, progress)
    return predict_probabilities(
        make_predictor(head.eval(), inputs.architecture).to(device), features, inputs.plain, device=device
    )


def slug(where: str) -> str:
    """Returns a name for a file or folder, of the last part of a path or of any other name."""
    return (
        "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name_of_path(where))[:60].strip(
            "."
        )
        or "data"
    )
