"""``dalib keep``: one of a run's models, selected by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.commands.subcommand import add_loudness, add_run
from dalib.core.console import say_result

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine

HELP = "select one of a run's models by hand"
DESCRIPTION = (
    "Select one of a run's models by hand. From then on predict, export, eval, dalib.load and the report use it, and "
    "no measurement changes the choice. All models stay in the run's folder, and the command can be given again."
)


def add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("model", choices=["adapted", "aligned", "source-only"], help="model to select")
    add_loudness(parser)


def run(call: CommandLine) -> None:
    from dalib.records.folder import RunFolder
    from dalib.report.page import write_report
    from dalib.run.finished.select import keep

    kept = RunFolder.existing(call.given["run"])
    say_result(keep(kept, call.given["model"]).sentence)
    say_result(f"report  {write_report(kept)}")
