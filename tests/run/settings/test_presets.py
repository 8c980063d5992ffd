import pytest

from dalib.core.errors import UserError
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.presets import PRESETS, check_applied, from_preset, values_of_preset
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
    assert values_of_preset("paper-small", set())["epochs"] == 300
    assert "epochs" not in values_of_preset("paper-small", {"steps"})
    assert from_preset("paper-small", steps=7).epochs is None


def test_a_preset_that_is_named_and_not_applied_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"from_preset\('digits'"):
        train(TrainConfig(preset="digits", out=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
    check_applied(from_preset("digits", backbone="small"))
