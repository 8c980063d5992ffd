"""What trained by self_ensemble's alpha still does, and a method's own setting goes before it."""

from dataclasses import asdict, replace

import pytest
import yaml

from dalib.commands.config_file import read_config
from dalib.commands.main import run
from dalib.commands.own_settings import with_own_settings
from dalib.commands.parser import make_parser
from dalib.run.config import SelfEnsembleConfig, TrainConfig
from dalib.run.once_shared import ONCE_SHARED
from dalib.run.presets import PRESETS, from_preset

OLD = {"alpha": 0.5, "alpha_warmup": False, "teacher_dropout": False}
"""Other values than the defaults."""


def parsed(*arguments: str) -> TrainConfig:
    given, _ = with_own_settings(["train", *arguments])
    settings = vars(make_parser(given).instantiate(make_parser(given).parse_args(given))["train"])
    for name in ("config", "resume", "allow_changes", "quiet", "verbose"):
        settings.pop(name)
    return TrainConfig(**settings)


def own_values(config: TrainConfig, method: str) -> dict[str, object]:
    group, names = ONCE_SHARED[method]
    return {name: getattr(getattr(config, group), name) for name in names}


def expected(method: str, values: dict[str, object] = OLD) -> dict[str, object]:
    return {name: values[name] for name in ONCE_SHARED[method][1]}


def old_file(tmp_path, method, **more):
    """A run's config.yaml from before the methods had settings of their own."""
    content = asdict(replace(TrainConfig(method=method), self_ensemble=SelfEnsembleConfig(**OLD)))
    for group, names in ONCE_SHARED.values():
        for name in names:
            del content[group][name]
    for group, values in more.items():
        content[group] |= values
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("method", ONCE_SHARED)
def test_an_old_file_is_read_as_it_was(tmp_path, method):
    path = old_file(tmp_path, method)
    assert own_values(read_config(path), method) == expected(method)
    assert own_values(parsed("--config", str(path)), method) == expected(method)


@pytest.mark.parametrize("method", ONCE_SHARED)
def test_a_setting_of_its_own_goes_before(tmp_path, method):
    group, _ = ONCE_SHARED[method]
    path = old_file(tmp_path, method, **{group: {"alpha": 0.99}})
    assert getattr(read_config(path), group).alpha == 0.99
    assert getattr(parsed("--config", str(path)), group).alpha == 0.99
    assert getattr(read_config(path), group).alpha_warmup is False


@pytest.mark.parametrize("method", ONCE_SHARED)
@pytest.mark.parametrize(
    "arguments",
    [
        ("--self_ensemble.alpha=0.5", "--self_ensemble.alpha_warmup", "false", "--self_ensemble.teacher_dropout=false"),
        ("--self_ensemble", '{"alpha": 0.5, "alpha_warmup": false, "teacher_dropout": false}'),
    ],
    ids=["one by one", "as a group"],
)
def test_old_flags_train_what_they_trained(method, arguments):
    assert own_values(parsed("--method", method, *arguments), method) == expected(method)


def test_a_later_flag_goes_before_a_file(tmp_path):
    path = old_file(tmp_path, "fixmatch")
    assert parsed("--config", str(path), "--self_ensemble.alpha", "0.7").fixmatch.alpha == 0.7
    assert parsed("--config", str(path), "--fixmatch.alpha", "0.7").fixmatch.alpha == 0.7


def test_what_is_not_trained_keeps_its_own():
    config = parsed("--self_ensemble.alpha", "0.5", "--method", "fixmatch")
    assert (config.fixmatch.alpha, config.adamatch.alpha, config.mean_teacher.alpha) == (0.5, 0.99, 0.99)
    assert with_own_settings(["train", "--self_ensemble.alpha", "0.5"]) == (
        ["train", "--self_ensemble.alpha", "0.5"],
        {},
    )


@pytest.mark.parametrize("method", ONCE_SHARED)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_what_it_set(preset, method):
    config = from_preset(preset, method=method)
    assert own_values(config, method) == expected(method, asdict(config.self_ensemble))
    assert own_values(parsed("--preset", preset, "--method", method), method) == own_values(config, method)


def test_a_change_of_a_preset_counts_as_before():
    config = from_preset("paper-small", method="adamatch", **{"self_ensemble.alpha_warmup": True})
    assert config.adamatch.alpha_warmup
    config = from_preset("paper-small", method="adamatch", **{"self_ensemble.alpha": 0.5, "adamatch.alpha": 0.6})
    assert config.adamatch.alpha == 0.6
    assert parsed(
        "--preset", "paper-small", "--method", "adamatch", "--self_ensemble.alpha_warmup", "true"
    ).adamatch.alpha_warmup


def test_it_is_said_and_printed(capsys):
    arguments = ["train", "--method", "fixmatch", "--self_ensemble.alpha", "0.5", "--print_config"]
    with pytest.raises(SystemExit):
        run(arguments)
    printed = capsys.readouterr()
    assert "--self_ensemble.alpha sets fixmatch.alpha, as it used to; write --fixmatch.alpha" in printed.err
    assert yaml.safe_load(printed.out)["fixmatch"]["alpha"] == 0.5
