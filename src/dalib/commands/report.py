"""``dalib report``: a run's report, written anew."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dalib.commands.subcommand import add_loudness, add_run
from dalib.core.console import say_result

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine

HELP = "write a run's report again"
DESCRIPTION = (
    "Write a run's report.html again, from what the run's folder holds now. Given the folder of several "
    "targets, write the report of each target, and the page that compares them."
)


def add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)
    add_loudness(parser)


def run(call: CommandLine) -> None:
    from dalib.records.folder import RunFolder
    from dalib.records.several import SeveralFolder
    from dalib.report.page import write_report
    from dalib.report.several import write_comparison

    folder = SeveralFolder(Path(call.given["run"]))
    if not folder.is_one():
        say_result(f"report  {write_report(RunFolder.existing(call.given['run']))}")
        return
    for run in folder.runs().values():
        say_result(f"report  {write_report(run)}")
    say_result(f"report  {write_comparison(folder)}")
