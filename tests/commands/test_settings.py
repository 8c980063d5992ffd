"""The settings of a training on the command line: what a preset gives, and what is given beside it."""

import pytest
from help_texts import text_of

from dalib.commands.parser import make_parser
from dalib.run.settings.image_defaults import PHOTOGRAPH_SETTINGS, network_of_preset
from dalib.run.settings.presets import PRESETS


def train_arguments(*arguments):
    parser = make_parser(["train", *arguments])
    return dict(vars(parser.instantiate(parser.parse_args(["train", *arguments]))["train"]))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--preset", "paper-small", "--optimizer.lr", "0.5"),
        ("--optimizer.lr", "0.5", "--preset", "paper-small"),
        ("--optimizer.lr=0.5", "--preset=paper-small"),
    ],
)
def test_on_the_command_line_a_flag_changes_a_preset_wherever_it_stands(arguments):
    given = train_arguments(*arguments)
    assert given["optimizer"].lr == 0.5
    assert given["self_ensemble"].threshold == 0.96837722
    assert (given["batch"], given["epochs"], given["preset"]) == (256, 300, "paper-small")


def test_steps_on_the_command_line_replace_the_epochs_of_a_preset():
    given = train_arguments("--preset", "paper-small", "--steps", "5")
    assert (given["steps"], given["epochs"]) == (5, None)


def test_a_preset_may_stand_in_a_file_and_the_files_settings_change_it(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("preset: paper-small\nself_ensemble:\n  weight: 7.0\n")
    given = train_arguments("--config", str(file))
    assert (given["self_ensemble"].weight, given["self_ensemble"].threshold) == (7.0, 0.96837722)


@pytest.mark.parametrize("first", ["the file of the preset", "another file", "another preset"])
def test_a_preset_gives_the_defaults_where_several_files_are_named(first, tmp_path):
    preset, other = tmp_path / "preset.yaml", tmp_path / "other.yaml"
    preset.write_text("preset: paper-small\n")
    other.write_text("seed: 3\n")
    files = ["--config", str(preset), "--config", str(other)]
    arguments = {
        "the file of the preset": files,
        "another file": [*files[2:], *files[:2]],
        "another preset": ["--preset", "digits", *files],
    }
    given = train_arguments(*arguments[first])
    assert (given["preset"], given["seed"], given["self_ensemble"].threshold) == ("paper-small", 3, 0.96837722)


def test_a_length_in_a_file_replaces_that_of_its_preset(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("preset: digits\nepochs: 3\n")
    given = train_arguments("--config", str(file))
    assert (given["steps"], given["epochs"]) == (None, 3)
    file.write_text("preset: digits\nepochs: null\n")
    given = train_arguments("--config", str(file))
    assert (given["steps"], given["epochs"]) == (PRESETS["digits"]["steps"], None)


@pytest.mark.parametrize("preset", [None, *PRESETS])
def test_the_defaults_are_those_of_the_preset_in_force(preset, helped):
    arguments = [] if preset is None else ["--preset", preset]
    said = helped("train", *arguments, "--help-all")
    settings = {"backbone": "small", "batch": 64, **PRESETS.get(preset, {}), **network_of_preset({"preset": preset})}
    for name in ("backbone", "weights", "steps", "batch", "views.student", "optimizer.lr", "self_ensemble.threshold"):
        if name in settings:
            default = settings[name]
            shown = f"{default:g}" if isinstance(default, float) else str(default)
            shown = "lite0" if default == PHOTOGRAPH_SETTINGS["backbone"] else shown  # by the name that people type
            assert f"default: {shown})" in text_of(said, f"--{name}")
    about = "those without a preset" if preset is None else f"The defaults below are those of the preset {preset}."
    assert about in " ".join(said.split())


def test_a_backbone_implies_its_preset_in_the_help_too(helped):
    assert "those of the preset photo-features." in helped("train", "--help", "--backbone", "lite0")
