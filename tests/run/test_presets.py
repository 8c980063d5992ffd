import pytest

from dalib.commands.parser import make_parser
from dalib.core.errors import UserError
from dalib.run.config import OptimizerConfig, TrainConfig
from dalib.run.presets import PRESETS, check_applied, from_preset, settings_of
from dalib.run.train import train


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_of_a_preset_is_one(name):
    config = from_preset(name)
    assert isinstance(config, TrainConfig)
    assert config.preset == name


def test_settings_change_a_preset():
    config = from_preset("paper-small", source="mnist", **{"optimizer.lr": 0.5, "data.size": 20})
    assert (config.source, config.optimizer.lr, config.data.size) == ("mnist", 0.5, 20)
    assert config.self_ensemble.weight == 3.0


@pytest.mark.parametrize("setting", ["speed", "optimizer.speed", "optimizer.lr.speed", "steps.speed"])
def test_an_unknown_setting_is_refused(setting):
    with pytest.raises(ValueError, match=setting):
        from_preset("paper-small", **{setting: 1})


def test_an_unknown_preset_is_refused_and_the_known_are_named():
    with pytest.raises(ValueError, match="paper-small"):
        from_preset("paper-smal")


def test_another_length_replaces_the_presets_in_whatever_unit():
    assert settings_of("paper-small", set())["epochs"] == 300
    assert "epochs" not in settings_of("paper-small", {"steps"})
    assert from_preset("paper-small", steps=7).epochs is None


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


def test_a_preset_that_is_named_and_not_applied_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"from_preset\('digits'"):
        train(TrainConfig(preset="digits", out=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
    check_applied(from_preset("digits", backbone="small"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"select": "best"}, r"select='best': expected 'judged', 'last' or 'most-confident'"),
        ({"keep": "all"}, r"keep='all': expected 'better' or 'adapted'"),
        ({"steps": "2"}, r"steps='2': expected a whole number or None"),
        ({"batch": True}, r"batch=True: expected a whole number"),
        ({"data": 16}, r"data=16: expected a DataConfig"),
        ({"track": "excel"}, r"track='excel': expected 'tensorboard', 'mlflow' or 'wandb' or None"),
        ({"source": [1]}, r"source=\[1\]: expected a string or a list of these"),
    ],
)
def test_what_is_no_setting_is_refused_where_it_is_made(settings, expected):
    with pytest.raises(UserError, match=expected):
        TrainConfig(**settings)


def test_a_group_refuses_too():
    with pytest.raises(UserError, match=r"schedule='step': expected 'one-cycle'"):
        OptimizerConfig(schedule="step")


def test_paths_are_taken_for_strings(tmp_path):
    config = TrainConfig(source=[tmp_path / "a", "b"], target=tmp_path)
    assert (config.source, config.target) == ([str(tmp_path / "a"), "b"], str(tmp_path))
