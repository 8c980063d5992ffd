"""``dalib train``: train, evaluate, report."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dalib.commands.arguments import names_of
from dalib.commands.config_file import read_config
from dalib.commands.given_settings import settings_in
from dalib.commands.settings import add_settings
from dalib.commands.subcommand import add_loudness
from dalib.core.console import say_result
from dalib.core.errors import Setting, UserError
from dalib.core.words import as_one
from dalib.run.settings.config import RESUMABLE, TrainConfig, by_name
from dalib.run.timing.opening import say_opening

if TYPE_CHECKING:
    from collections.abc import Container

    from jsonargparse import ArgumentParser

    from dalib.commands.subcommand import CommandLine

HELP = "train on two domains, evaluate, and write a report"
DESCRIPTION = (
    "Train on a labelled source and an unlabelled target, judge without target labels whether that helped, and write "
    "a run's folder with its report. For photographs, --source and --target are enough; for written characters, add "
    "--preset digits. Without any argument, a built-in example runs."
)
USAGE = """dalib train --source SOURCE --target TARGET [--out RUN] [options]
       dalib train --resume RUN"""
"""Replaces argparse's usage, which lists eighty options."""


def add_arguments(parser: ArgumentParser) -> None:
    add_settings(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the run's folder if it exists")
    parser.add_argument(
        "--resume", metavar="RUN", help="run to resume, with the settings that it was started with", default=None
    )
    parser.add_argument(
        "--allow_changes", action="store_true", help="resume a run even if its config.yaml or its images have changed"
    )
    add_loudness(parser)


def run(call: CommandLine) -> None:
    since = time.monotonic()  # torch's import takes seconds of a time limit, too
    allow_changes: bool = call.given.pop("allow_changes")
    call.given.pop("config")
    config, resume = _train_config(call.given, names_of(call.arguments) | settings_in(call.arguments).keys())
    if not resume:
        _require_both_domains(config, settings_in(call.arguments))
    say_opening(config.source, config.target, kit=config.kit, resume=config.out if resume else None)
    from dalib.engine.distributed import world_of
    from dalib.run.train import train

    if isinstance(config.target, dict):
        _train_several(config, resume=resume, allow_changes=allow_changes)
        return
    finished = train(config, resume=resume, allow_changes=allow_changes, since=since)
    if world_of(os.environ).first:
        say_result(f"run     {finished.root}\nreport  {finished.report}")


def _train_several(config: TrainConfig, *, resume: bool, allow_changes: bool) -> None:
    from dalib.engine.distributed import world_of
    from dalib.run.several import Options, print_targets, train_several

    folder = train_several(config, resume=resume, options=Options(allow_changes=allow_changes))
    if world_of(os.environ).first:
        print_targets(folder.read())
        say_result(f"runs    {folder.root}\nreport  {folder.report}")


def _train_config(given: dict[str, Any], named: set[str]) -> tuple[TrainConfig, bool]:
    """Returns the configuration, and whether a run resumes with it; ``named`` are the settings that are given."""
    resume: str | None = given.pop("resume")
    config = TrainConfig(**given)
    if resume is None:
        return config, False
    from dalib.records.folder import RunFolder
    from dalib.records.several import SeveralFolder

    several = SeveralFolder(Path(resume))
    run = several if several.is_one() else RunFolder.existing(resume, "resume")
    saved = read_config(run.config)
    before, fresh = by_name(saved), by_name(TrainConfig())
    given_now = {
        name: value
        for name, value in by_name(config).items()
        if value != before[name] and (name in named or value != fresh[name])
    }
    implied = {"source"} - named if "kit" in given_now else set()
    if changed := sorted(given_now.keys() - set(RESUMABLE) - implied):
        flags = ", ".join(str(Setting(name)) for name in changed)
        raise UserError(f"--resume {resume}: a run resumes with the settings it was started with; leave out {flags}")
    return replace(saved, **{**given_now, "out": str(run.root)}), True


def _require_both_domains(config: TrainConfig, named: Container[str]) -> None:
    """Refuses one domain alone: the other would be the built-in example's, which nobody means.

    Raises:
        UserError: ``--source`` without ``--target``, or the other way round.
    """
    if config.kit is not None:
        if "target" not in named:
            raise UserError(f"--kit {config.kit}: expected --target with it, the images to adapt to")
        return
    if config.init is not None and "target" in named and "source" not in named:
        raise UserError(
            f"--init {config.init}: it is the start of a training with a source; expected --source with it, or, "
            f"without the source's images, --kit {config.init}"
        )
    if ("source" in named) != ("target" in named):
        given, missing = ("source", "target") if "source" in named else ("target", "source")
        value = getattr(config, given)
        value = as_one(list(value.values()) if isinstance(value, dict) else value)
        raise UserError(
            f"--{given} {value}: expected --{missing} with it; the built-in example is --source fonts "
            "--target digits, or neither"
        )
