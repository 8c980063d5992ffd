"""``dalib report``: a run's report, written anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dalib.commands.subcommand import add_run
from dalib.core.console import say

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import Call

HELP = "write a run's report again"
DESCRIPTION = "Write a run's report.html again, from what the run's folder holds now."


def add_arguments(parser: ArgumentParser) -> None:
    add_run(parser)


def run(call: Call) -> None:
    from dalib.records.folder import RunFolder
    from dalib.report.page import write_report

    say(f"report  {write_report(RunFolder.existing(call.given['run']))}")
