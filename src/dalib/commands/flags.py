"""Spelling of settings on the command line: the one place that knows flags."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dalib.core.errors import ABSENT, Setting
from dalib.core.files import quoted

if TYPE_CHECKING:
    from dalib.core.errors import Call

SWITCHES = ("allow_changes", "anew", "download", "json", "no_speed", "overwrite", "quiet", "strict", "verbose")
"""Flags without a value."""

POSITIONAL = {"run": "RUN", "models": "TABLE"}
"""Arguments without a flag, in any subcommand that has them, as the usage names them."""

COMMANDS = {
    "dalib.adapt": "train",
    "dalib.adapt_each": "train",
    "dalib.run.finished.measure.evaluate": "eval",
    "dalib.run.finished.label_estimates.evaluate_labels": "eval",
    "dalib.run.finished.query.query": "query",
    "dalib.run.finished.compare.compare_runs": "compare",
    "dalib.run.others.judge_models.judge_models": "judge",
    "dalib.run.finished.predict.predict": "predict",
    "dalib.run.finished.features.features": "features",
    "dalib.run.export.export": "export",
    "dalib.run.finished.select.keep": "keep",
    "dalib.report.page.write_report": "report",
    "dalib.report.several.write_comparison": "report",
    "dalib.run.checks.checks": "checks",
}
"""The subcommand that does what a function does."""

SHORT = {"time_limit": "time", "count": "n"}
"""Settings with a shorter flag than their name."""

BARE = {"keep": ("model",)}
"""Arguments without a flag, of one subcommand alone."""


class FlagSpelling:
    """Settings as flags, and calls as commands.

    >>> spelling = FlagSpelling()
    >>> spelling.setting(Setting("data.range", "0,4095")), spelling.setting(Setting("strict", True))
    ('--data.range 0,4095', '--strict')
    >>> spelling.setting(Setting("run", "runs/first")), spelling.setting(Setting("source", "my photos"))
    ('RUN runs/first', "--source 'my photos'")
    """

    def setting(self, setting: Setting) -> str:
        name = POSITIONAL.get(setting.name) or f"--{SHORT.get(setting.name, setting.name)}"
        if setting.value is ABSENT or (setting.name in SWITCHES and setting.value is True):
            return name
        return f"{name} {quoted(_value(setting.value))}"

    def call(self, call: Call) -> str:
        """Returns the command with its values quoted, to be copied into a shell."""
        command = COMMANDS[call.function]
        words = ["dalib", command]
        for setting in call.settings:
            if setting.name not in (*POSITIONAL, *BARE.get(command, ())):
                words.append(f"--{SHORT.get(setting.name, setting.name)}")
            elif setting.value is ABSENT:
                words.append(POSITIONAL.get(setting.name, setting.name.upper()))
            if setting.value is not ABSENT and not (setting.name in SWITCHES and setting.value is True):
                words.append(quoted(_value(setting.value)))
        return " ".join(words)


def _value(value: object) -> str:
    """Returns a value as the parser takes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # as it was typed: --time 1
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
