"""Judges models that were not trained here: tables of probabilities, features or images in, a judgement out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.markup import escape
from rich.table import Table

from dalib.core.console import one_line, say, say_result, say_table
from dalib.core.errors import Message, Setting, UserError
from dalib.core.files import expanded, make_parent, write_text
from dalib.core.words import likelihood, meant, share_in_words, share_within
from dalib.engine.evaluate import evaluated_rows
from dalib.judge.evidence import Evidence
from dalib.judge.ranking import judge_predictions
from dalib.judge.structure import structure_of
from dalib.report.models_page import is_judged_page, judged_page
from dalib.run.others.model_features import GivenFeatures
from dalib.run.others.model_groups import checked_groups, find_model_groups, rows_of_groups
from dalib.run.others.model_tables import (
    ProbabilityTable,
    common_classes,
    common_names,
    other_folder,
    positions_of,
    read_table,
    with_groups,
)
from dalib.run.others.table_objects import is_frame, require_known_order, table_of, with_counted_classes

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor

    from dalib.judge.models_judgement import ModelsJudgement
    from dalib.run.finished.image_features import ImageFeatures
    from dalib.run.finished.image_predictions import Predictions

Labelled = tuple[Any, Any]
"""Values of labelled source images, a row each, and their classes: names, or positions among the classes."""

Grouped = tuple[Any, Any, Any]
"""Likewise, and a value for each row that is equal for images that belong together."""


def judge_models(
    models: Mapping[str, ArrayLike | Predictions | str | Path],
    *,
    features: ArrayLike | ImageFeatures | str | Path | None = None,
    images: str | Path | None = None,
    names: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    validation: Mapping[str, Labelled | Grouped | ArrayLike | str | Path] | None = None,
    source: Labelled | str | Path | None = None,
    reference: str | None = None,
    groups: ArrayLike | str | None = None,
) -> ModelsJudgement:  # each kind of evidence, which may be missing, is an argument of its own
    """Judges models of the same unlabelled target images, wherever they were trained.

    ::

        judgement = dalib.judge_models({"before": p, "after": q}, features=f, reference="before")
        print(judgement)  # headline, ranking, estimates, and what was missing

    Args:
        models: at least two models by their names: probabilities (M, C), a data frame of pandas or polars, the
            predictions of a run, or a file of a table (:func:`dalib.run.others.model_tables.read_table`). What has no
            names of images or classes is in the order of the others.
        features: (M, D) of the same images, of a network that none of the models trained, in their order; a data
            frame with their names as index; what ``features`` of a run returned; or a file (.npz, .npy, .safetensors,
            .parquet), or a folder that ``dalib features`` wrote.
        images: a folder of the target's images, in place of ``features``: the built-in pretrained network computes
            them, and keeps them for the next time. Images are found by the names of the tables.
        names: M names of the images, in the order of the arrays; by default those of the tables.
        classes: C names; by default those of the tables, or numbers.
        validation: for the models that have them, probabilities (N, C) of labelled source images that their training
            has not seen, with their labels, ``(probabilities, labels)``; or with their groups as well,
            ``(probabilities, labels, groups)``; or a data frame or a file of a table with a column ``label``. Labels
            are names of classes or, where they are none, positions among them.
        source: labelled source images, which estimates of the accuracy need: with ``features``, features (K, D) by the
            same network with their labels, or a file of these; with ``images``, a folder with a folder for each class.
        reference: name of the model without adaptation. The best of the others is compared with it.
        groups: target images that belong together, such as those of one patient, which are then no independent
            evidence (:func:`dalib.run.others.model_groups.find_model_groups`): M values in the order of the arrays, a
            column of the tables or of the list ``images``, a regular expression with one group over the names, or
            ``auto`` with ``images``. A column or an expression holds for ``validation`` tables, too; arrays have their
            groups in ``validation``.

    Raises:
        UserError: fewer than two models, other images or classes, or rows that do not sum to 1.
    """
    _check_models(models, reference, validation or {})
    names = None if names is None else _listed(names, "names")
    classes = None if classes is None else _listed(classes, "classes")
    column = groups if isinstance(groups, str) else None
    tables, names, known = _aligned(models, names, classes, column)
    labelled = {name: _validation(name, each, known, column) for name, each in (validation or {}).items()}
    count = len(next(iter(tables.values())).probabilities)
    rows, structure = evaluated_rows(count), None
    given = GivenFeatures(features, images, source)
    opened = given.opened(names)
    together = find_model_groups(groups, tables, {name: table for name, (table, _) in labelled.items()}, opened)
    of_target = rows_of_groups(together.target, rows)
    shown = given.representation(rows, count, names, known, opened)
    if shown is not None and count > 1:
        structure = structure_of(shown, len(known), of_target)
    nothing = ProbabilityTable(torch.zeros(0, len(known), dtype=torch.float64)), torch.zeros(0, dtype=torch.int64)
    evidence = {}
    for name, each in tables.items():
        table, labels = labelled.get(name, nothing)
        own = {"validation_groups": rows_of_groups(together.validation.get(name)), "target_groups": of_target}
        evidence[name] = Evidence(table.probabilities, labels, each.probabilities[rows], **own)
    listed = [] if names is None else [names[row] for row in rows.tolist()]
    judgement = judge_predictions(evidence, known, structure, reference, listed)
    pictures = {} if opened is None else opened.pictures([name for name, _, _ in judgement.differing], listed, rows)
    return replace(judgement, groups=together.in_words, pictures=pictures)


def checked_page(out: str | Path) -> Path:
    """Returns the path of a page to write.

    Raises:
        UserError: a folder, a name that does not end in .html, or a file that is not a page of this kind.
    """
    path = Path(expanded(out))
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(Setting("out", str(out)), ": expected a name that ends in .html")
    if path.is_dir():
        raise UserError(Setting("out", str(out)), ": expected a file, this is a folder")
    if path.is_file() and path.stat().st_size and not is_judged_page(path):
        raise UserError(
            Setting("out", str(out)),
            ": there is a file already that is not a page of judged models, which alone would be replaced; give "
            "another name",
        )
    make_parent(path)
    return path


def write_page(judgement: ModelsJudgement, out: str | Path) -> Path:
    """Writes a judgement as an HTML page in the style of a run's report, whole or not at all, and returns its path."""
    page = checked_page(out)
    try:
        write_text(page, judged_page(judgement, page.stem))
    except OSError as error:
        raise UserError(Setting("out", str(out)), f": cannot be written ({error.strerror or error})") from error
    return page


def _check_models(models: Mapping[str, Any], reference: str | None, validation: Mapping[str, Any]) -> None:
    """Refuses fewer than two models, and names of none of them, before a table is read.

    Raises:
        UserError: the first of these.
    """
    if not isinstance(models, Mapping) or len(models) < 2:
        got = len(models) if isinstance(models, Mapping) else type(models).__name__
        raise UserError(Setting("models"), f": expected at least two models by their names, got {got}")
    if strange := [name for name in models if not isinstance(name, str)]:
        raise UserError(
            Setting("models"), f": expected names as text, got {strange[0]!r}; write {str(strange[0])!r} in its place"
        )
    if reference is not None and reference not in models:
        raise UserError(
            Setting("reference", reference),
            f": expected one of the models, {', '.join(models)}{meant(str(reference), models)}",
        )
    if not isinstance(validation, Mapping):
        raise UserError(
            Setting("validation"), f": expected tables by the names of the models, got {type(validation).__name__}"
        )
    for name in validation:
        if name not in models:
            raise UserError(
                Setting("validation"),
                f": expected names of models ({', '.join(models)}), got {name!r}{meant(str(name), models)}",
            )


def _listed(given: Sequence[str], argument: str) -> tuple[str, ...]:
    """Returns names of images or classes, which may stand in an array, as text.

    Raises:
        UserError: one text in place of several, or a name twice.
    """
    if isinstance(given, str):
        raise UserError(Setting(argument, given), ": expected several names, such as a list of text")
    found = tuple(map(str, given))
    if twice := next((name for name, count in Counter(found).items() if count > 1), None):
        raise UserError(Setting(argument), f": expected each name once, got {twice!r} more than once")
    return found


def _aligned(
    models: Mapping[str, Any], names: Sequence[str] | None, classes: Sequence[str] | None, groups: str | None
) -> tuple[dict[str, ProbabilityTable], tuple[str, ...] | None, tuple[str, ...]]:
    """Returns the models' tables in one order of images and classes, and the names of both."""
    tables: dict[str, ProbabilityTable] = {}
    for name, each in models.items():
        if isinstance(each, str | Path):
            tables[name] = read_table(each, "models", classes or (), groups=groups)
        else:
            tables[name] = table_of(each, Setting(f"models[{name!r}]"), names, classes or (), groups)
    known = tuple(classes) if classes is not None else common_classes(tables.values())
    width = next((each.probabilities.shape[1] for each in tables.values() if not each.most_likely_only), None)
    if known is None:
        known = tuple(str(number) for number in range(width or 0))
    if classes is None:
        tables = {name: with_counted_classes(each, models[name], known) for name, each in tables.items()}
    for name, each in tables.items():  # two likeliest classes are known before all classes are
        if each.over is not None and each.classes != known:
            tables[name] = each.over(known)
    listed = tuple(names) if names is not None else common_names(tables.values())
    _require_one_order(tables, known if classes is not None else None, names)
    aligned = {}
    count = len(listed) if listed is not None else len(next(iter(tables.values())).probabilities)
    for name, each in tables.items():
        given = models[name]
        where = Setting("models", str(given)) if isinstance(given, str | Path) else Setting(f"models[{name!r}]")
        if each.most_likely_only and (more := set(each.classes or ()) - set(known)):
            raise UserError(where, f": expected the classes {', '.join(known)}; it has {sorted(more)[0]!r} more")
        if each.names is None and is_frame(given):
            require_known_order(given, listed, where)
        aligned[name] = found = each.in_order_of(listed, known, where)
        if each.names and listed and (folders := other_folder(each.names, listed)):
            said = f"in the folder {folders[0]}, and those of the first model in {folders[1]}"
            say(Message("note: ", where, f": its images lie {said}; they are taken for the same, by their names there"))
        if (got := len(found.probabilities)) != count:
            raise UserError(where, f": expected {count} rows, one an image, as the first model has; got {got}")
    return aligned, listed, known


def _require_one_order(
    tables: Mapping[str, ProbabilityTable], classes: Sequence[str] | None, names: Sequence[str] | None
) -> None:
    """Refuses a table without names of its rows or columns, where the others have theirs in several orders.

    Raises:
        UserError: nobody knows which row or column is which.
    """
    of_images = {name: each.names for name, each in tables.items()}
    of_classes = {name: each.classes for name, each in tables.items() if not each.most_likely_only}
    for what, given, named in (("names of images", names, of_images), ("names of classes", classes, of_classes)):
        lacking = [name for name, each in named.items() if each is None]
        if given is None and lacking and len({each for each in named.values() if each is not None}) > 1:
            raise UserError(
                Setting("models"),
                f": {lacking[0]} has no {what}, and the others have theirs in several orders, so that they cannot be "
                "matched; give it names, or tables in one order",
            )


def _validation(name: str, given: Any, classes: Sequence[str], groups: str | None) -> tuple[ProbabilityTable, Tensor]:
    """Returns a model's table of N labelled source images, and their classes (N,)."""
    if isinstance(given, str | Path):
        where = Setting("validation", str(given))
        table = read_table(given, "validation", classes, groups=groups)
        labels: Any = table.labels
        if labels is None:
            raise UserError(where, ": expected a column label with the true classes; it has none")
    else:
        where = Setting(f"validation[{name!r}]")
        values, of_pair, together = (given, None, None) if is_frame(given) else _arrays_of(given, where)
        table = with_counted_classes(table_of(values, where, None, classes, groups), values, classes)
        labels = table.labels if of_pair is None else of_pair
        if labels is None:
            raise UserError(where, ": expected a column label with the true classes, or a pair (probabilities, labels)")
        if together is not None:
            count = len(table.probabilities)
            together = checked_groups(together, count, where, f"groups with one value for each of {count} images")
            table = with_groups(table, together)
    found = replace(table.in_order_of(None, classes, where), names=table.names)
    return found, positions_of(labels, classes, len(found.probabilities), where)


def _arrays_of(given: Any, where: Setting) -> tuple[Any, Any, Any]:
    """Returns probabilities, labels and groups of labelled source images; the groups are None where none are given."""
    if isinstance(given, tuple | list) and len(given) == 3:
        probabilities, labels, groups = given
        return probabilities, labels, groups
    if not isinstance(given, tuple | list) or len(given) != 2:
        expected = "expected a pair (probabilities, labels), or (probabilities, labels, groups)"
        raise UserError(where, f": {expected}, got {type(given).__name__}")
    return given[0], given[1], None


def print_judgement(judgement: ModelsJudgement) -> None:
    """Prints the headline, a table of the models from the best to the worst, the pairs, and what was missing."""
    say_result(f"{judgement.headline}.")
    names = [escape(one_line(each.name)) for each in judgement.models]
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("model", overflow="fold")
    for heading in ("better than another", "estimated accuracy", "validation"):
        table.add_column(heading, justify="right")
    for name in names if judgement.pairs else ():
        table.add_column(f"> {name}", justify="right")
    table.add_column("")
    for place, each in enumerate(judgement.models, 1):
        estimate = each.estimate
        told = "-" if estimate is None else share_within(estimate.value, estimate.low, estimate.high)
        accuracy = each.validation_accuracy
        pairs = judgement.pairs[place - 1] if judgement.pairs else ()
        table.add_row(
            str(place),
            names[place - 1],
            "-" if each.mean_probability is None else likelihood(each.mean_probability),
            told,
            "-" if accuracy is None else share_in_words(accuracy),
            *("" if value is None else likelihood(value) for value in pairs),
            escape(each.failed),
        )
    say_table(table)
    for reason in judgement.reasons:
        say(f"{reason}.")
    for remark in judgement.remarks:
        say(remark)
    say("No target label was used: this is a judgement and no measurement.")
