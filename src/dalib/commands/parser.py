"""The command line. Parsers are made from the dataclasses in :mod:`dalib.run.config`; only work imports torch."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from dalib.commands.complaints import in_our_words, without_breaks
from dalib.core.console import output, say, standard_streams
from dalib.core.errors import (
    OutputClosedError,
    RanksLostError,
    RunStoppedError,
    ToldElsewhereError,
    TrainingDivergedError,
    UserError,
)
from dalib.core.files import expanded, is_url
from dalib.run.config import ELSEWHERE, NO_URL, OUR_BACKBONES, TrainConfig, by_name
from dalib.run.config import PATHS as PATHS_OF_TRAIN
from dalib.run.once_shared import inherited, with_inherited
from dalib.run.presets import PRESETS, settings_of

if TYPE_CHECKING:
    from collections.abc import Sequence

DESCRIPTION = """Train on labelled images of one domain and unlabelled images of another, and get a classifier for the
second. Without arguments, `dalib train` runs a built-in example: fonts to handwritten digits."""

TRAIN_USAGE = """dalib train --source SOURCE --target TARGET --out RUN
                   [--preset PRESET] [--backbone NAME --weights FILE] [settings]
       dalib train --resume RUN"""
"""In place of eighty options in brackets."""

DEEPEST = 20
"""A configuration has groups of settings, and lists in them; more than this is not one."""

SHELLS = ("bash", "zsh", "tcsh")

PATHS = frozenset((*PATHS_OF_TRAIN, "resume", "run", "runs", "data", "labels", "images"))
"""Arguments that shells complete by files; ``data`` is also a group of settings, which takes one."""

WORKING = ("train", "eval", "query", "predict", "export", "report")
"""Commands that are for what they write into files, and go on where nobody reads what they print."""

_RUN_HELP = "a run's folder, as `dalib train` printed it"
_DEVICE_HELP = "auto, cpu or cuda"
_CACHE_HELP = (
    "where decoded images are: disk keeps them for later, ram until the end, off decodes them as they are needed"
)
_DOWNLOAD_HELP = "fetch a named data set that is not there, where torchvision can"
_STRICT_HELP = "refuse unreadable images instead of skipping them"


def run(arguments: list[str]) -> int:
    """Run a command line; the exit code.

    0, 1 where training diverged or a process of several was lost, 2 for bad input, 128 and the signal's number after
    one: 130 after Ctrl-C, 141 where a command that only prints lost its reader.
    """
    with standard_streams(lists=_lists(arguments)):
        try:
            return _run_and_flush(arguments)
        except OutputClosedError:
            return 141  # as other programs end, which SIGPIPE kills
        except ToldElsewhereError:
            return 2
        except (UserError, ArgumentError) as error:
            say(f"dalib: error: {error}", sys.stderr)
            return 2
        except TrainingDivergedError as error:
            _of_several(f"dalib: training diverged: {error}")
            return 1
        except RanksLostError as error:
            say(f"dalib: {error}", sys.stderr)
            return 1
        except RunStoppedError as error:
            _of_several(f"dalib: {error}")
            return error.code
        except KeyboardInterrupt:
            say("dalib: stopped", sys.stderr)
            return 130


def _run_and_flush(arguments: list[str]) -> int:
    try:
        return _run(arguments)
    finally:  # also after --help, which leaves by SystemExit
        sys.stdout.flush()


def _lists(arguments: list[str]) -> bool:
    """Whether a command line asks for something to be printed, and for nothing else."""
    asked = ("-h", "--help", "--version", "--print_config", "--print-config")
    return arguments[:1] not in [[name] for name in WORKING] or any(each.startswith(asked) for each in arguments)


def _of_several(message: str) -> None:
    """Print what each of several processes would say, once."""
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":
        say(message, sys.stderr)


def _run(arguments: list[str]) -> int:
    arguments = with_paths([with_underscores(argument) for argument in arguments])
    arguments = with_range_joined(with_sources_united(arguments))
    for file in _configurations(arguments):
        _require_plain(Path(file))
    arguments, taken = with_own_settings(_with_preset(_with_backbone_of_init(arguments)))
    for own, old in taken.items():
        _of_several(f"dalib: note: --{old} sets {own}, as it used to; write --{own}")
    parser = make_parser(arguments)
    try:
        parsed = parser.parse_args(arguments)
    except UserError:
        raise
    except ValueError as error:  # such as a file name with a null byte in it
        raise UserError(f"{arguments[0] if arguments else 'dalib'}: {without_breaks(error)}") from None
    command: str = parsed["subcommand"]
    if command == "completion":
        output().write(f"{completion(parsed[command]['shell'])}\n")
        return 0
    try:
        given: dict[str, Any] = dict(vars(parser.instantiate(parsed)[command]))
    except TypeError as error:  # a group of settings, such as data, that is no mapping
        raise UserError(f"{command}: expected settings in each group ({without_breaks(error)})") from None

    # torch takes seconds to import: only now that there is something to do
    from dalib.engine.distributed import world_of
    from dalib.records.folder import RunFolder
    from dalib.run import checks, compare, query, train

    if command == "train":
        allow_changes: bool = given.pop("allow_changes")
        files = given.pop("config") or []
        config, resume = _train_config(given, _names_of(arguments))
        if not resume:
            _require_both_domains(config, _named_in(arguments, files))
        finished = train.train(config, resume=resume, allow_changes=allow_changes)
        if world_of(os.environ).first:
            say(f"run     {finished.root}\nreport  {finished.report}")
    elif command == "eval":
        if (given["data"] is None) == (given["labels"] is None):
            raise UserError("eval: expected either --data or --labels (see dalib eval --help)")
        evaluated = RunFolder.existing(given["run"])
        if given["labels"] is not None:
            query.evaluate_labels(evaluated, given["labels"])
        else:
            train.evaluate(
                evaluated,
                given["data"],
                device=given["device"],
                strict=given["strict"],
                root=given["root"],
                download=given["download"],
                cache=given["cache"],
            )
        say(f"report  {train.report(evaluated)}")
    elif command == "compare":
        compare.compare_runs(given["runs"])
    elif command == "query":
        query.query(RunFolder.existing(given["run"]), given["n"], given["out"], seed=given["seed"])
    elif command == "predict":
        count = train.predict(
            given["run"],
            given["images"],
            given["out"],
            model=given["model"],
            device=given["device"],
            strict=given["strict"],
            cache=given["cache"],
        )
        say(f"{count} predictions in {given['out']}")
    elif command == "export":
        run = RunFolder.existing(given["run"])
        say(f"wrote {train.export(run, given['format'], given['out'], model=given['model'])}")
    elif command == "report":
        say(f"report  {train.report(RunFolder.existing(given['run']))}")
    elif command == "keep":
        kept = RunFolder.existing(given["run"])
        say(train.keep(kept, given["model"]).sentence)
        say(f"report  {train.report(kept)}")
    elif command == "cache":
        train.cache(given["action"], given["key"])
    else:
        given.pop("allow_changes")
        if given.pop("resume") is not None:
            raise UserError("checks: --resume is of train; expected the settings of a run that is not begun")
        names = _named_in(arguments, given.pop("config") or [])
        checks.checks(TrainConfig(**given), source="source" in names, target="target" in names)
    return 0


def make_parser(arguments: list[str] | None = None) -> ArgumentParser:
    """The whole parser, with a subcommand for each thing to do.

    A preset that the arguments ask for gives the defaults of ``train``, wherever it stands among them.
    """
    arguments = arguments or []
    preset = preset_in(arguments)
    parser = _parser(DESCRIPTION, prog="dalib")
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        default=argparse.SUPPRESS,
        help="print the versions of dalib and what it needs",
    )
    commands = parser.add_subcommands(required=True)

    train = _parser(
        "Train on a labelled source and an unlabelled target, and write a run's folder with its report. Most runs need "
        "--source, --target and --out, with --backbone and --weights for photographs or --preset digits for written "
        "characters; every other setting has a default.",
        usage=TRAIN_USAGE,
    )
    _add_training(train, preset, arguments)
    train.add_argument("--overwrite", action="store_true", help="replace the run's folder if there is one")
    train.add_argument("--resume", metavar="RUN", help="go on with this run, as it was configured", default=None)
    train.add_argument(
        "--allow_changes", action="store_true", help="with --resume: even if its config.yaml or its images have changed"
    )
    commands.add_subcommand("train", train, help="train, evaluate, report")

    evaluate = _parser(
        "Measure a run's models against labels, and put the result into its report. Give a labelled set (--data), or "
        "labels of a few of the target's own images (--labels), which tell the accuracy on the whole target with an "
        "interval. Where one model is clearly better, it becomes the run's selected model, unless you have chosen one "
        "(dalib keep)."
    )
    evaluate.add_argument("run", help=_RUN_HELP)
    evaluate.add_argument(
        "--data",
        default=None,
        help="a folder with a folder of images for each class, digits-held-out, or a named test set such as usps-test",
    )
    evaluate.add_argument(
        "--labels",
        metavar="FILE",
        default=None,
        help="a CSV file with the columns path and label: the list of `dalib query`, filled in, or any random sample "
        "of the target's images; rows without a label are left out, and no image is read",
    )
    _add_named(evaluate)
    _add_common(evaluate, cache="disk")
    commands.add_subcommand("eval", evaluate, help="measure against labels")

    query = _parser(
        "Choose target images to label, so that a few labels tell how accurate the run's models are and whether "
        "adaptation helped; write them to a CSV file to fill in. It is a random sample, with more images where the "
        "models differ or are unsure, and each image's weight makes up for that."
    )
    query.add_argument("run", help=_RUN_HELP)
    query.add_argument("--n", type=int, default=50, help="how many images")
    query.add_argument("--out", default="to_label.csv", help="the CSV file to write; it must not be there yet")
    query.add_argument("--seed", type=int, default=0, help="another seed chooses other images")
    commands.add_subcommand("query", query, help="choose target images to label")

    compare = _parser(
        "Rank runs on the same target, the best first: by measured accuracy where all of them were measured on the "
        "same labels; else without a target label, by label-free scores and by how often each agrees with all of them "
        "together. Both models of each run are shown."
    )
    compare.add_argument("runs", nargs="+", metavar="RUN", help="the runs' folders, at least two")
    commands.add_subcommand("compare", compare, help="which of several runs is best")

    predict = _parser(
        "Write a table: path, class, confidence, runner-up and its confidence for each image. The same command again "
        "goes on where one was stopped."
    )
    predict.add_argument("run", help=f"{_RUN_HELP}; or a file or folder that dalib export wrote")
    predict.add_argument("--images", required=True, help="a folder of images, flat or nested, or a list of them")
    predict.add_argument("--out", required=True, help="the file to write: CSV, or Parquet if it ends in .parquet")
    predict.add_argument("--model", default=None, help="adapted or source-only; by default the run's selected model")
    _add_common(predict, cache="off")
    commands.add_subcommand("predict", predict, help="predict a folder of images")

    export = _parser(
        "Write a run's model in a form that other programs open, and check it against PyTorch. onnx and torch-export "
        "are one file that takes images (N, C, size, size) as uint8 and gives probabilities; hf is a folder that timm "
        "opens; torch is a folder for dalib.load."
    )
    export.add_argument("run", help=_RUN_HELP)
    export.add_argument("--format", required=True, choices=["onnx", "torch-export", "torch", "hf"], help="which form")
    export.add_argument("--out", required=True, help="what to write: a file .onnx or .pt2, or a folder; not there yet")
    export.add_argument("--model", default=None, help="adapted or source-only; by default the run's selected model")
    commands.add_subcommand("export", export, help="write the model for other programs")

    keep = _parser(
        "Select one of a run's models by hand: from then on predict, export, eval, dalib.load and the report use it, "
        "whatever labels say. Both models stay in the run's folder, and the command can be given again."
    )
    keep.add_argument("run", help=_RUN_HELP)
    keep.add_argument("model", choices=["adapted", "source-only"], help="which one")
    commands.add_subcommand("keep", keep, help="select one of a run's models")

    report = _parser("Write a run's report.html anew.")
    report.add_argument("run", help=_RUN_HELP)
    commands.add_subcommand("report", report, help="write the report")

    checks = _parser(
        "Look at the installation, at the files of --source and --target, and measure how long training would take. "
        "Takes the settings of train; trains nothing and writes nothing."
    )
    _add_training(checks, preset, arguments)
    # what configurations of train have and checks has no use for
    for setting in ("--overwrite", "--allow_changes"):
        checks.add_argument(setting, action="store_true", help=argparse.SUPPRESS)
    checks.add_argument("--resume", default=None, help=argparse.SUPPRESS)
    commands.add_subcommand(
        "checks", checks, help="look at installation and data, and tell how long training would take"
    )

    cache = _parser(
        "List or remove what is kept to be quick: decoded images and features. They are in ~/.cache/dalib, in a "
        "temporary folder where that cannot be written, or in the folder that DALIB_CACHE names."
    )
    cache.add_argument("action", choices=["ls", "rm"], help="ls lists, rm removes")
    # not "keys": the parser's namespace has a method of that name
    cache.add_argument("key", nargs="*", default=[], help="of rm: what to remove, by its key as ls prints it, or all")
    commands.add_subcommand("cache", cache, help="list or remove kept images and features")

    of_shell = _parser(
        "Print a script that lets the shell complete commands, settings and their values. For bash: dalib completion "
        "bash > ~/.local/share/bash-completion/completions/dalib, which new shells read. For zsh: into a file _dalib "
        "in a folder of $fpath. For tcsh: into a file that ~/.tcshrc sources."
    )
    of_shell.add_argument("shell", choices=SHELLS, help="which one")
    commands.add_subcommand("completion", of_shell, help="print a completion script for a shell")
    for name, command in commands.choices.items():
        command.prog = f"dalib {name}"  # without the "[options]" of the parser above, which has none
    return parser


def completion(shell: str) -> str:
    """The script that completes our command line in one of SHELLS.

    Raises:
        UserError: shtab, which writes it, is not installed.
    """
    if find_spec("shtab") is None:
        raise UserError(f"completion {shell}: the package shtab is not installed; pip install shtab")
    import shtab

    parser = make_parser([])
    for command in parser._subcommands_action._name_parser_map.values():  # type: ignore[union-attr]
        for action in command._actions:
            if action.dest in PATHS:
                action.complete = shtab.FILE
    return parser.get_completion_script(f"shtab-{shell}")


def _add_training(parser: ArgumentParser, preset: str | None, arguments: list[str]) -> None:
    parser.add_argument("--config", action="config", help="a YAML file with any of these settings")
    parser.add_class_arguments(TrainConfig, as_group=False, skip={"strict", "overwrite", "download"})
    if preset is not None and preset in PRESETS:  # what is not is refused with the other arguments
        named = _first_look(arguments, "--preset", "--config")
        # one that is named stays a setting of its own, which --print_config=skip_default keeps
        implied = {"preset": preset} if named.preset is None and named.config is None else {}
        parser.set_defaults({**implied, **settings_of(preset, _names_of(arguments))})
    parser.add_argument("--download", action="store_true", help=_DOWNLOAD_HELP)
    parser.add_argument("--strict", action="store_true", help=_STRICT_HELP)


def _named_in(arguments: list[str], files: Sequence[object]) -> set[str]:
    """The settings on a command line, and in the configuration files that it names."""
    return _names_of(arguments).union(*(_content_of(Path(str(file))) for file in files))


def _require_both_domains(config: TrainConfig, named: set[str]) -> None:
    """Refuse one domain alone: the other would be the built-in example's, which nobody means.

    Raises:
        UserError: ``--source`` without ``--target``, or the other way round.
    """
    if ("source" in named) != ("target" in named):
        given, missing = ("source", "target") if "source" in named else ("target", "source")
        raise UserError(
            f"--{given} {getattr(config, given)}: expected --{missing} with it; the built-in example is --source fonts "
            "--target digits, or neither"
        )


def _names_of(arguments: list[str]) -> set[str]:
    """The settings on a command line, without their dashes and values."""
    return {argument.split("=")[0].lstrip("-") for argument in arguments if argument.startswith("-")}


def preset_in(arguments: list[str]) -> str | None:
    """The preset that a command line asks for, by ``--preset`` or in the file of ``--config``.

    A backbone that is not ours, without a preset and without a configuration, asks for ``photo-features``.
    """
    given = _first_look(arguments, "--preset", "--config", "--backbone")
    preset: object = given.preset
    if preset is None and given.config is not None:
        preset = _content_of(Path(given.config)).get("preset")
    elif preset is None and given.backbone is not None and given.backbone not in OUR_BACKBONES:
        preset = "photo-features"
    return preset if isinstance(preset, str) else None


def _first_look(arguments: list[str], *names: str) -> argparse.Namespace:
    """The values of a few settings, before there is a parser of all."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in names:
        first.add_argument(name, nargs="?")
    return first.parse_known_args(arguments)[0]


def _with_backbone_of_init(arguments: list[str]) -> list[str]:
    """The command line with the backbone of the run that it starts from, where it names a run and no backbone."""
    given = _first_look(arguments, "--init", "--config", "--backbone")
    if given.init is None or given.config is not None or given.backbone is not None:
        return arguments
    saved = Path(given.init) / "config.yaml"
    if not saved.is_file():
        return arguments
    _require_plain(saved)
    backbone = _content_of(saved).get("backbone")
    return [*arguments, "--backbone", backbone] if isinstance(backbone, str) else arguments


def _with_preset(arguments: list[str]) -> list[str]:
    """The command line with the preset that its backbone asks for, as if it had been typed.

    ``--print_config=skip_default`` would leave it out as a default, and what it prints would be another run.
    """
    preset = preset_in(arguments)
    given = _first_look(arguments, "--preset", "--config")
    if arguments[:1] not in (["train"], ["checks"]) or preset is None or (given.preset, given.config) != (None, None):
        return arguments
    return [arguments[0], "--preset", preset, *arguments[1:]]


def _configurations(arguments: list[str]) -> list[str]:
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", nargs="?", action="append", default=[])
    return [file for file in first.parse_known_args(arguments)[0].config if file is not None]


def _require_plain(path: Path) -> None:
    """Refuse YAML that would fill the memory or the stack: aliases multiply what a file holds, nesting has no end.

    Raises:
        UserError: aliases, values within more than DEEPEST others, or a file that is not UTF-8.
    """
    depth = 0
    try:
        for event in yaml.parse(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader):
            where = str(path) if event.start_mark is None else f"{path}, line {event.start_mark.line + 1}"
            if isinstance(event, yaml.AliasEvent):
                raise UserError(f"{where}: *{event.anchor} refers to another value; write it out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise UserError(f"{where}: expected settings, found values within {depth} others")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8 ({error.reason}); save it as UTF-8") from None
    except (OSError, yaml.YAMLError):  # what is wrong with the file is told when it is read
        return


def _content_of(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):  # what is wrong with the file is told when it is read
        return {}
    return content if isinstance(content, dict) else {}


def with_sources_united(arguments: list[str]) -> list[str]:
    """Several ``--source`` become one list, which is what the parser takes.

    >>> with_sources_united(["train", "--source", "a", "--source=b, c", "--seed", "1"])
    ['train', '--seed', '1', '--source', '["a", "b, c"]']
    """
    sources, rest, waiting = [], [], iter(arguments)
    for argument in waiting:
        if argument == "--source":
            value = next(waiting, None)
            if value is None or value.startswith("--"):
                return arguments  # the parser says what is missing
            sources.append(value)
        elif argument.startswith("--source="):
            sources.append(argument.removeprefix("--source="))
        else:
            rest.append(argument)
    return [*rest, "--source", json.dumps(sources)] if len(sources) > 1 else arguments


def with_own_settings(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    """Gives a method those of its settings that :mod:`dalib.run.once_shared` takes from self-ensemble's.

    Returns:
        The arguments, each such setting after the argument or the file that it takes its value from; and the names of
        these settings, with that of the other one.

    >>> with_own_settings(["train", "--method", "fixmatch", "--self_ensemble.alpha", "0.9", "--seed", "1"])[0]
    ['train', '--method', 'fixmatch', '--self_ensemble.alpha', '0.9', '--fixmatch.alpha=0.9', '--seed', '1']
    """
    if arguments[:1] not in (["train"], ["checks"]):
        return arguments, {}
    every = _values_given(arguments)
    given = {name: value for values in every.values() for name, value in values.items()}
    taken = inherited(str(given.get("method")), given)
    found = []
    for place, argument in enumerate(arguments):
        found.append(argument)
        values = every.get(place, {})
        found += [f"--{own}={values[old]}" for own, old in taken.items() if old in values]
    return found, taken


def _values_given(arguments: list[str]) -> dict[int, dict[str, str]]:
    """Returns settings and values, as they would be typed, by the place of the argument that ends each of them."""
    found = {}
    for place, argument in enumerate(arguments):
        if not argument.startswith("--"):
            continue
        name, equals, value = argument[2:].partition("=")
        if not equals and place + 1 < len(arguments):
            place, value = place + 1, arguments[place + 1]
        if name == "config":
            found[place] = _flat(_content_of(Path(value)))
        elif "." not in name and value.startswith("{"):  # a group of settings
            found[place] = _flat({name: _mapping_in(value)})
        else:
            found[place] = {name: value}
    return found


def _flat(content: dict[str, Any], before: str = "") -> dict[str, str]:
    """Returns the settings in a file under their names on the command line, with values as they would be typed."""
    found: dict[str, str] = {}
    for name, value in content.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": _typed(value)}
    return found


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _mapping_in(text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # the parser says what is wrong with it
        return {}
    return content if isinstance(content, dict) else {}


def with_paths(arguments: list[str]) -> list[str]:
    """The arguments with the home folder in place of a leading ``~``, which a shell leaves in ``--source=~/images``.

    Raises:
        UserError: a URL in place of a path, as it was given: paths would drop one of its slashes.

    >>> with_paths(["export", "runs/first", "--out=~nobody-of-this-name/x"])
    ['export', 'runs/first', '--out=~nobody-of-this-name/x']
    """
    found, option = [], ""
    for argument in arguments:
        name, equals, value = argument.partition("=") if argument.startswith("--") else (option, "", argument)
        option = name if argument.startswith("--") and not equals else ""
        if is_url(value):
            raise UserError(f"{name or 'RUN'} {value}: {NO_URL}")
        found.append(f"{name}={expanded(value)}" if equals else expanded(argument))
    return found


def with_range_joined(arguments: list[str]) -> list[str]:
    """A range that begins with a negative number in one word with its name, or the parser takes it for an option.

    >>> with_range_joined(["train", "--data.range", "-1000,2000", "--seed", "1"])
    ['train', '--data.range=-1000,2000', '--seed', '1']
    """
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--data.range" and argument[:1] == "-" and argument[1:2].isdigit():
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def with_underscores(argument: str) -> str:
    """An option as it is called here, however it was written; anything else as it is.

    >>> with_underscores("--target-labels=few-labels.csv"), with_underscores("paper-small")
    ('--target_labels=few-labels.csv', 'paper-small')
    """
    name, equals, value = argument.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else argument


def read_config(path: Path) -> TrainConfig:
    """The configuration of a run from its YAML file.

    Raises:
        UserError: a file that is missing or does not fit.
    """
    parser = _parser("", prog="dalib train")
    parser.add_class_arguments(TrainConfig, as_group=False)
    _require_plain(path)
    try:
        config = TrainConfig(**vars(parser.instantiate(parser.parse_path(str(path)))))
    except (ArgumentError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{path}: not a configuration of this version ({without_breaks(error)})") from None
    return with_inherited(config, _flat(_content_of(path)))


def _train_config(given: dict[str, Any], named: set[str]) -> tuple[TrainConfig, bool]:
    """The configuration, and whether a run goes on with it; ``named`` are the settings on the command line."""
    resume: str | None = given.pop("resume")
    config = TrainConfig(**given)
    if resume is None:
        return config, False
    from dalib.records.folder import RunFolder

    run = RunFolder.existing(resume)
    saved = read_config(run.config)
    before, fresh = by_name(saved), by_name(TrainConfig())
    given_now = {
        name: value
        for name, value in by_name(config).items()
        if value != before[name] and (name in named or value != fresh[name])
    }
    if changed := sorted(given_now.keys() - set(ELSEWHERE)):
        raise UserError(f"--resume {resume}: a run goes on as it was configured; leave out {', '.join(changed)}")
    return replace(saved, **{**given_now, "out": str(run.root)}), True


class _Version(argparse.Action):
    """Prints lines as they are; argparse's own fills them into a paragraph."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from dalib.core.versions import describe_versions

        say(describe_versions())
        parser.exit()


class _Parser(ArgumentParser):
    """Says what is wrong in one line, without the usage of fifty options in front of it."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        about: ArgumentParser = self
        commands = self._subcommands_action
        for name, command in (commands._name_parser_map if commands is not None else {}).items():
            if f"Subcommand '{name}' " in message or f"are required: {name}." in message:
                about = command
        raise UserError(f"{in_our_words(message, about._option_string_actions)} (see {about.prog} --help)")


def _parser(description: str, **settings: Any) -> ArgumentParser:
    return _Parser(description=description, **settings)


def _add_common(parser: ArgumentParser, cache: str) -> None:
    parser.add_argument("--device", default="auto", help=_DEVICE_HELP)
    parser.add_argument("--cache", default=cache, choices=["disk", "ram", "off"], help=_CACHE_HELP)
    parser.add_argument("--strict", action="store_true", help=_STRICT_HELP)


def _add_named(parser: ArgumentParser) -> None:
    parser.add_argument("--root", default=None, help="the folder of the named data sets; by default data")
    parser.add_argument("--download", action="store_true", help=_DOWNLOAD_HELP)
