"""``dalib judge``: which of several models is best, wherever they were trained."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from dalib.commands.subcommand import add_loudness
from dalib.core.console import Loudness, loudness, say_json, say_result
from dalib.core.errors import Setting, UserError
from dalib.core.files import split_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine

HELP = "judge models that were trained elsewhere, without labels"
DESCRIPTION = (
    "Compare two or more models by what they predict for the same unlabelled target images: for each pair the "
    "probability that one is better than the other, the ranking, and an estimate of each accuracy. No target label is "
    "used. Without features of the images (--images or --features), there are no probabilities, and the ranking means "
    "little."
)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="+",
        metavar="TABLE",
        help="tables of probabilities, at least two, as FILE or NAME=FILE: CSV or Parquet with a column of names and "
        "one for each class, a table of `dalib predict`, or NPZ with probabilities, names and classes. Rows may be in "
        "any order",
    )
    parser.add_argument(
        "--images",
        default=None,
        help="the target's images: a folder, flat or nested, or a list. The built-in pretrained network computes "
        "features, which are kept for the next time",
    )
    parser.add_argument(
        "--features",
        metavar="FILE",
        default=None,
        help="file of features in place of --images: of the same images, by a network that none of the models has "
        "trained. It is what `dalib features` wrote, NPZ with features and names, or .npy or .safetensors in the order "
        "of the first table",
    )
    parser.add_argument(
        "--source",
        default=None,
        help="labelled source images, without which accuracies are not estimated: with --images, a folder with one "
        "folder for each class; with --features, a file of features by the same network, and labels",
    )
    parser.add_argument(
        "--validation",
        nargs="+",
        metavar="TABLE",
        default=None,
        help="tables of the models' probabilities for labelled source images that training has not seen, with a column "
        "label: as NAME=FILE, or one for each model in their order",
    )
    parser.add_argument(
        "--reference", default=None, help="name of the model without adaptation, which the others are compared with"
    )
    parser.add_argument(
        "--groups",
        metavar="COLUMN|EXPRESSION|auto",
        default=None,
        help="target images that belong together, such as those of one burst or patient, and count as one piece of "
        "evidence: a column of the tables or of the list that --images names; a regular expression with one group, "
        "such as 'patient_([0-9]+)', that is searched in the names; or auto, which compares the --images. By default: "
        "each image counts for itself",
    )
    parser.add_argument("--classes", nargs="+", default=None, help="names of all classes, where no table has them all")
    parser.add_argument(
        "--out",
        default=None,
        help="HTML page to write; an earlier page of this kind is replaced, any other file is refused",
    )
    parser.add_argument("--json", action="store_true", help="print the judgement as JSON and nothing else")
    add_loudness(parser)


def run(call: CommandLine) -> None:
    given = call.given
    models = _named(given["models"], "models")
    if len(models) < 2:
        raise UserError(Setting("models"), f": expected at least two tables of probabilities, got {len(models)}")
    validation = _validation(given["validation"], list(models))

    from dalib.run.others.judge_models import checked_page, judge_models, print_judgement, write_page

    out = None if given["out"] is None else checked_page(given["out"])
    arguments = {name: given[name] for name in ("images", "features", "source", "reference", "groups", "classes")}
    with loudness(Loudness.QUIET) if given["json"] else nullcontext():
        judgement = judge_models(models, validation=validation, **arguments)
    if out is not None:
        write_page(judgement, out)
    if given["json"]:
        say_json(judgement.as_dict())
        return
    print_judgement(judgement)
    if out is not None:
        say_result(f"page  {given['out']}")


def _named(tables: Sequence[str], argument: str) -> dict[str, str]:
    """Returns the files by the names of their models: NAME=FILE, or else the file's name without its ending."""
    found: dict[str, str] = {}
    for table in tables:
        given, file = split_name(table)
        name = Path(table).stem if given is None else given
        if name in found:
            raise UserError(
                Setting(argument, table), f": two models have the name {name!r}; name them, such as other={file}"
            )
        found[name] = file
    return found


def _validation(tables: Sequence[str] | None, models: Sequence[str]) -> dict[str, str] | None:
    """Returns the validation tables by the names of the models."""
    if tables is None:
        return None
    if all("=" in table and not Path(table).exists() for table in tables):
        return _named(tables, "validation")
    if len(tables) != len(models):
        raise UserError(
            Setting("validation"),
            f": expected one table for each of {len(models)} models in their order, or NAME=FILE; got {len(tables)}",
        )
    return dict(zip(models, tables, strict=True))
