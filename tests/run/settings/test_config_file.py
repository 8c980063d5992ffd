"""A run's config.yaml is read as the command line reads it, without its parser."""

from pathlib import Path

import pytest

from dalib.commands.config_file import read_config
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.run.settings.config_file import config_text, read_plain_config, require_settings
from dalib.run.settings.presets import from_preset


@pytest.mark.parametrize("preset", ["digits", "photo-features", "paper-small"])
def test_what_was_written_is_read_as_the_command_line_reads_it(preset, tmp_path):
    file = tmp_path / "config.yaml"
    config = from_preset(preset, source=["a", "b"], target="c", **{"optimizer.lr": 1e-5})
    file.write_text(config_text(config))
    assert read_plain_config(file) == read_config(file) == config
    assert read_plain_config(file, out="elsewhere").out == "elsewhere"


def test_a_file_from_before_methods_had_their_own_alpha_means_what_it_meant(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("method: fixmatch\nself_ensemble:\n  alpha: 0.5\n")
    assert read_plain_config(file).fixmatch.alpha == read_config(file).fixmatch.alpha == 0.5


@pytest.mark.parametrize(
    "text", ["a: &a [1]\nb: *a\n", "steps: [", "- 1\n", "steps: many\n", "no_such: 1\n", "data: {sise: 1}\n"]
)
def test_what_is_no_configuration_is_refused(text, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml"):
        read_plain_config(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, ": no such file"),
        ("", ": expected settings, such as the line `steps: 500`, got nothing"),
        ("# none\n", "got nothing"),
        ("- a\n", "got a list"),
        ("steps\n", "got 'steps'"),
        ("optimizer: 3\n", ": optimizer: expected a group of settings, each in a line below, got 3"),
        ("steps: 5\nseed: 1\nsteps: 9\n", ": line 3: steps stands there twice; keep one of them, the last would count"),
        ("data:\n  size: 8\n  size: 9\n", ": line 3: size stands there twice; keep one of them, the last would count"),
        ("steps:\t3\n\tseed: 1\n", ": not YAML (line 1, column 7: found character '\\t' that cannot start any token)"),
    ],
)
def test_a_file_without_settings_is_refused_by_its_name(text, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "own.yaml").write_text(text)
    assert run(["train", "--config", "own.yaml"]) == 2
    assert capsys.readouterr().err.startswith("dalib: error: --config own.yaml")
    with pytest.raises(UserError) as refused:
        require_settings(Path("own.yaml"))
    assert said in str(refused.value)
