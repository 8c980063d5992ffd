"""The help of a subcommand: what most people need first, each choice once, the defaults that are in force."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from jsonargparse import DefaultHelpFormatter

from dalib.commands.flags import SHORT
from dalib.core.console import output
from dalib.run.settings.image_defaults import SHORT_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

WIDEST = 100
"""Characters of a line, also on a wider terminal: longer lines are hard to read."""

MAIN: Mapping[str, Sequence[str]] = {
    "images": ("source", "target", "target_labels", "evaluate"),
    "network": ("preset", "backbone", "weights", "features", "init"),
    "training": ("method", "time_limit", "steps", "batch", "seed", "device"),
    "run": ("out", "resume", "overwrite", "config", "quiet"),
}
"""The options that most people need, by their names without dashes, under the headings of ``--help``."""

REST: Mapping[str, Sequence[str]] = {
    "more about images": ("kit", "hints", "groups", "root", "download", "cache", "strict"),
    "more about the network": ("weights_order",),
    "more about the training": (
        "epochs",
        "baseline",
        "baseline_steps",
        "warm_start",
        "classes",
        "prior",
        "select",
        "keep",
        "statistics",
        "accumulate",
        "precision",
        "feature_precision",
        "compile",
        "sync_norms",
    ),
    "more about the run": ("track", "allow_changes", "verbose", "print_config"),
}
"""The other options that are in no group of their own, which ``--help-all`` adds."""

TERMS: Mapping[str, str] = {
    "source, target": "the domain with labels, and the one without, on which the classifier will be used",
    "backbone": "the part of a network that computes features of an image; a head computes classes from them",
    "view": "an image after random augmentation: moved, warped, recoloured",
    "student": "the network that the optimiser trains",
    "teacher": "the average of the student's weights over the last steps; it is the adapted model in the end",
    "EMA": "exponential moving average: each step the teacher keeps a share alpha of itself and adds the student",
    "consistency": "the loss that pulls the student's prediction for one view towards the teacher's for another",
    "confidence mask": "restricts the consistency to target images on which the teacher is confident enough",
    "pseudo-label": "a class that a network predicted and that is used like a label",
    "class prior": "the shares of the classes that are expected in the target",
    "class balance": "a loss that keeps the mean prediction near the class prior",
    "information": "a loss that makes each prediction confident, and all of them together diverse",
    "source-only model": "the same network trained on the source alone; models without adaptation are baselines",
    "aligned model": "the source-only model with the normalisation statistics of the target",
    "adapted model": "the network trained on both domains",
    "selected model": "the run's model that `predict` and `export` use, chosen by the judgement or by labels",
    "judgement": "compares the adapted model with the better of the others, without a label of the target",
    "step": "one update of the weights, from one batch of each domain",
}
"""The method's words, each explained in a sentence."""


_SHORT = {settings["backbone"]: short for short, settings in SHORT_NAMES.items()}
"""Short names of backbones, by timm's names."""

_WITHOUT_VALUE = re.compile(r"\s+By default: .*?\.(?=\s|$)", re.DOTALL)
"""The part of a text about a setting without a value, which is wrong where a preset gives one."""


class HelpFormatter(DefaultHelpFormatter):
    """Writes each choice and each default once, and no types, in lines that fit in 80 columns without a terminal."""

    def __init__(self, prog: str, **settings: Any) -> None:
        columns = min(shutil.get_terminal_size().columns, WIDEST)
        super().__init__(prog, **{"width": columns - 2, "max_help_position": 26, **settings})  # type: ignore[no-untyped-call]
        self._listed: dict[tuple[str, ...], str] = {}

    def _get_help_string(self, action: argparse.Action) -> str:
        text = (action.help or "").replace("%", "%%")
        notes = []
        choices = () if _takes_truth(action) or not action.option_strings else tuple(choices_of(action))
        if any(choice not in text for choice in choices):
            before = self._listed.setdefault(choices, action.option_strings[0])
            listed = f"as {before}" if before != action.option_strings[0] else f"one of {', '.join(choices)}"
            notes.append(listed)
        if default := _shown_default(action):
            text = _WITHOUT_VALUE.sub("", text)
            if "default:" not in text.lower():
                notes.append(f"default: {default}")
        return f"{text} ({'; '.join(notes)})" if notes else text

    def _expand_help(self, action: argparse.Action) -> str:
        return self._get_help_string(action).replace("%%", "%")

    def _metavar_formatter(self, action: argparse.Action, default_metavar: str) -> Any:
        """Names the value; its choices stand in the text."""
        if action.option_strings and (action.metavar is None or choices_of(action)):
            name = "{true,false}" if _takes_truth(action) else action.dest.rsplit(".")[-1].upper()
            return lambda size: (name,) * size
        return super()._metavar_formatter(action, default_metavar)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """Names an option once, without the forms that jsonargparse adds, such as ``--source+``."""
        if not action.option_strings:
            return super()._format_action_invocation(action)
        names = [each for each in action.option_strings if not each.endswith("+")]
        short = [each for each in names if not each.startswith("--")]
        shown = ", ".join([*short, names[-1]] if short else names[-1:])
        value = "" if action.nargs == 0 else self._format_args(action, action.dest.rsplit(".")[-1].upper())
        if shown.lstrip("-") in SHORT.values():
            value = shown.lstrip("-").upper()
        # jsonargparse takes the space away by a backspace, which a file or a pager shows as a character
        return f"{shown} {value}".replace(" \b", "").rstrip()


def choices_of(action: argparse.Action) -> list[str]:
    """Returns the values that an option takes, empty where these are not a few names.

    >>> choices_of(argparse.Action(["--shell"], "shell", choices=["bash", "zsh"]))
    ['bash', 'zsh']
    """
    if action.choices is not None and not isinstance(action.choices, dict):
        return [str(each) for each in action.choices]
    kind = getattr(action, "_typehint", None)
    for each in (kind, *get_args(kind)):
        if get_origin(each) is Literal:
            return [str(choice) for choice in get_args(each)]
        if each is bool:
            return ["true", "false"]
    return []


def _takes_truth(action: argparse.Action) -> bool:
    return choices_of(action) == ["true", "false"]


def _shown_default(action: argparse.Action) -> str:
    """Returns the default as it would be typed; empty where there is none, or none to type."""
    default = action.default
    if default in (None, argparse.SUPPRESS) or action.nargs == 0 or not action.option_strings:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str) and default in _SHORT:
        return _SHORT[default]
    return f"{default:g}" if isinstance(default, float) else str(default)


def sections(actions: Sequence[argparse.Action], groups: Mapping[str, Sequence[argparse.Action]]) -> Iterator[Any]:
    """Yields heading, options, and whether they are of those that most people need.

    Args:
        actions: the options in no group of their own.
        groups: the others, by the headings of their groups.
    """
    left = {action.dest: action for action in actions}
    for main, listed in ((True, MAIN), (False, REST)):
        for heading, names in listed.items():
            yield heading, [left.pop(name) for name in names if name in left], main
    helps = [left.pop(name) for name in ("help", "help_all") if name in left]
    yield "other options", list(left.values()), False
    for heading, grouped in groups.items():
        yield heading, [each for each in grouped if "." in each.dest], False
    yield "help", helps, True


def terms_text() -> str:
    """Returns the method's words with their meanings, in lines of at most 78 characters."""
    wide = max(map(len, TERMS)) + 2
    lines = ["words:"]
    for term, meaning in TERMS.items():
        lines += textwrap.wrap(meaning, 76, initial_indent=f"  {term:<{wide}}", subsequent_indent=" " * (wide + 2))
    return "\n".join(lines)


class HelpAll(argparse.Action):
    """Prints the help of all options."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        output().write(parser.format_all())  # type: ignore[attr-defined]
        parser.exit()
