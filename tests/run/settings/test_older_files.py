import pytest
import yaml

from dalib.commands.older_settings import with_older_meanings
from dalib.run.settings.config import TrainConfig, ViewsConfig
from dalib.run.settings.config_file import config_text, read_plain_config
from dalib.run.settings.kit_settings import settings_of_kit


def written_before(folder, flip):
    content = yaml.safe_load(config_text(TrainConfig()))
    content["views"]["flip"] = flip
    del content["feature_precision"]
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize(("flip", "meant"), [(False, "auto"), (True, "always")])
def test_a_whole_configuration_with_a_truth_value_is_an_older_one(flip, meant, tmp_path):
    file = written_before(tmp_path, flip)
    assert read_plain_config(file).views.flip == meant
    assert read_plain_config(file).feature_precision == "float32"
    arguments, _ = with_older_meanings(["train", "--config", str(file), "--seed", "1"])
    assert ("--views.flip=auto" in arguments) == (not flip)
    assert "--feature_precision=float32" in arguments


def test_what_is_typed_after_an_older_file_holds(tmp_path):
    arguments, _ = with_older_meanings(
        ["train", "--config", str(written_before(tmp_path, False)), "--views.flip=never"]
    )
    assert arguments.index("--views.flip=auto") < arguments.index("--views.flip=never")


def test_a_file_of_today_and_one_that_a_person_wrote_mean_what_they_say(tmp_path):
    file = tmp_path / "own.yaml"
    for content in (config_text(TrainConfig(views=ViewsConfig(flip=False))), "views:\n  flip: false\n"):
        file.write_text(content)
        assert with_older_meanings(["train", "--config", str(file)])[0] == ["train", "--config", str(file)]
        assert read_plain_config(file).views.flip == "never"


def test_a_kit_of_an_older_version_means_as_its_views_did(monkeypatch):
    for written, meant in ((False, "auto"), ("never", "never")):

        class Header:
            settings = {"views.flip": written}  # noqa: RUF012

        monkeypatch.setattr("dalib.run.settings.kit_settings.read_header", lambda _: Header)
        assert settings_of_kit("a.dalib", {}) == {"views.flip": meant}
