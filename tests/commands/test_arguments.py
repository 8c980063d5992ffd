"""Arguments before they are parsed."""

import json

import pytest

from dalib.commands.arguments import prepared, written
from dalib.commands.main import run
from dalib.run.settings.kit_settings import settings_of_kit


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["train", "--source=https://example.org/a//b", "--target", "x"], "--source https://example.org/a//b: "),
        (["train", "--source", "x", "--target", "s3://bucket//x"], "--target s3://bucket//x: "),
        (["train", "--source=[a, https://example.org//b]", "--target", "x"], "'https://example.org//b'"),
        (["eval", "https://example.org//run", "--data", "x"], "RUN https://example.org//run: "),
        (["predict", "run", "--images", "x", "--out=s3://bucket//x.csv"], "--out s3://bucket//x.csv: "),
    ],
)
def test_a_url_is_refused_as_it_was_given(arguments, told, capsys):
    assert run(arguments) == 2
    assert told in (line := capsys.readouterr().err)
    assert "expected a path on this machine, got a URL" in line


def test_a_place_is_known_as_it_was_written(tmp_path):
    (tmp_path / "a.yaml").write_text("target: 'night: 1'\nevaluate: 'night: 2'\n")
    arguments = ["train", "--config", str(tmp_path / "a.yaml"), "--evaluate", "day: 3"]
    assert {name: written(arguments)[name] for name in ("target", "evaluate")} == {
        "target": "night: 1",
        "evaluate": "day: 3",
    }


def test_several_labelled_sets_are_not_of_one_target(capsys):
    assert run(["train", "--source", "x", "--target", "y", "--evaluate", "a", "--evaluate=b"]) == 2
    assert "--evaluate: expected one labelled set for one target, got 2" in capsys.readouterr().err


def test_labelled_sets_are_of_the_targets_in_a_file(tmp_path):
    (tmp_path / "a.yaml").write_text("source: x\ntarget:\n  night: y\n  day: z\n")
    typed = ["--config", str(tmp_path / "a.yaml"), "--evaluate", "day=a", "--evaluate", "night=b"]
    arguments = prepared(["train", *typed]).arguments
    assert arguments[arguments.index("--evaluate") + 1] == '{"day": "a", "night": "b"}'


@pytest.fixture
def model(tmp_path):
    """A model alone, which stands in for the source as a kit does."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    preprocessing = {"size": 16, "channels": 1, "fit": "ink", "crop": None, "interpolation": "bilinear"}
    content = {"architecture": {"backbone": "digits", "bottleneck_dim": 8}, "preprocessing": preprocessing}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("typed", [True, False])
def test_a_kit_gives_its_settings_beside_a_file_of_others(model, typed, tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("seed: 5\ndata:\n  fit: crop\n" + ("" if typed else f"kit: {model}\n"))
    kit = ["--kit", str(model)] if typed else []
    found = prepared(["train", *kit, "--target", "x", "--config", str(file)]).arguments
    assert {"--backbone=digits", "--data.size=16", "--model.bottleneck_dim=8"} <= {*found}
    assert not any(each.startswith("--data.fit") for each in found)  # the file has it


def test_a_file_of_all_settings_of_a_run_from_a_kit_is_taken_as_it_is(model, tmp_path):
    file = tmp_path / "a.yaml"
    settings = settings_of_kit(model, {})
    groups = {}
    for name, value in settings.items():
        group, _, part = name.rpartition(".")
        (groups.setdefault(group, {}) if group else groups)[part] = value
    file.write_text(json.dumps({**groups, "kit": str(model), "preset": None, "weights": None, "baseline": True}))
    given = ["train", "--target", "x", "--config", str(file)]
    assert prepared(given).arguments == given


@pytest.mark.parametrize("typed", [True, False])
def test_a_run_to_start_from_gives_its_backbone_and_preset_beside_a_file(typed, tmp_path):
    first = tmp_path / "first"
    first.mkdir()
    (first / "config.yaml").write_text("backbone: tf_efficientnet_lite0\n")
    file = tmp_path / "a.yaml"
    file.write_text("seed: 5\n" + ("" if typed else f"init: {first}\n"))
    init = ["--init", str(first)] if typed else []
    given = ["train", "--source", "x", "--target", "y", *init, "--config", str(file)]
    found = prepared(given).arguments
    assert found[: len(given)] == given
    assert {"--backbone=tf_efficientnet_lite0", "--preset=photo-features"} <= {*found}
    file.write_text(f"backbone: small\ninit: {first}\n")
    assert prepared(given).arguments == given


@pytest.mark.parametrize(
    "command",
    [
        ["predict", "run", "--out", "x.csv", "--images"],
        ["features", "run", "--out", "x.npz", "--images"],
        ["judge", "a.csv", "b.csv", "--images"],
        ["eval", "run", "--data"],
        ["eval", "run", "--labels"],
    ],
)
def test_none_of_several_sets_is_left_out_without_a_word(command, capsys):
    option = command[-1]
    assert run([*command, "day", f"{option}=my night"]) == 2
    told = f"dalib: error: {option} day {option} 'my night': expected one of them; give the command for each\n"
    assert capsys.readouterr().err == told
    assert prepared([*command, "day", option, "day"]).arguments == [*command, "day", option, "day"]
