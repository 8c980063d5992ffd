"""``dalib eval``: a run's models, measured against labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.commands.subcommand import add_download, add_groups, add_loudness, add_reading, add_run
from dalib.core.console import say_result
from dalib.core.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine

HELP = "measure a run's models against labels"
DESCRIPTION = (
    "Measure a run's models against labels, and add the result to its report. Give a labelled set (--data), or labels "
    "of a few of the target's own images (--labels), from which the accuracy on the whole target is estimated with an "
    "interval. A model that is clearly better becomes the run's selected model, unless you have chosen one "
    "(dalib keep)."
)


def add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--data",
        default=None,
        help="labelled images: a folder with one folder of images for each class, a list or shards with labels, "
        "digits-held-out, or a named test set such as usps-test",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        default=None,
        help="CSV file with the columns path and label: the list of `dalib query`, filled in, or any random sample of "
        "the target's images. Rows without a label are left out. No image is read",
    )
    add_groups(parser)
    parser.add_argument("--root", default=None, help="folder of the named data sets. By default: data")
    add_download(parser)
    add_reading(parser, cache="disk")
    add_loudness(parser)


def run(call: CommandLine) -> None:
    given = call.given
    if (given["data"] is None) == (given["labels"] is None):
        raise UserError("eval: expected either --data or --labels (see dalib eval --help)")

    from dalib.records.folder import RunFolder
    from dalib.report.page import write_report
    from dalib.run.finished.label_estimates import evaluate_labels
    from dalib.run.finished.measure import evaluate

    evaluated = RunFolder.existing(given["run"])
    if given["labels"] is not None:
        evaluate_labels(evaluated, given["labels"], given["groups"])
    else:
        named = ("device", "strict", "root", "download", "cache", "groups")
        evaluate(evaluated, given["data"], **{name: given[name] for name in named})
    say_result(f"report  {write_report(evaluated)}")
