"""dalib features on a run of folders, and its file in dalib judge."""

import contextlib
import io
import json

import numpy as np
import pytest

from dalib.commands.main import run
from models_elsewhere import write_pictures


def test_features_have_a_row_for_each_readable_image_with_the_names_of_predict(trained, folders, tmp_path, capsys):
    out, table = tmp_path / "f.npz", tmp_path / "p.csv"
    assert run(["features", str(trained), "--images", f"{folders}/target", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert f"features of 24 images in {out}\n" in told
    assert "broken.png" in told
    assert run(["predict", str(trained), "--images", f"{folders}/target", "--out", str(table)]) == 0
    with np.load(out) as arrays:
        assert arrays["names"].tolist() == [line.split(",")[0] for line in table.read_text().splitlines()[1:]]
        assert arrays["features"].shape[0] == 24


def test_the_model_is_chosen_and_named(trained, folders, tmp_path, capsys):
    command = ["features", str(trained), "--images", f"{folders}/target", "--out", f"{tmp_path}/f"]
    assert run([*command, "--model", "source-only"]) == 0
    assert "by the source-only model (asked for" in capsys.readouterr().out
    assert run([*command, "--model", "best"]) == 2
    assert "--model best: this run has" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "RUN: expected a run or a model, or --backbone; got neither"),
        (["RUN", "--backbone", "resnet50"], "RUN: expected a run or a model, or --backbone; got both"),
        (["RUN", "--weights", "hub"], "--weights hub: belongs to --backbone, which is not given"),
        (["RUN", "--weights-order", "position"], "--weights_order position: belongs to --backbone, which is not given"),
        (["--backbone", "resnet50", "--model", "adapted"], "--model adapted: belongs to RUN, which is not given"),
        (["--backbone", "small"], "--backbone small: a small network that has no pretrained weights"),
        (["--backbone", "resnet50"], "--weights: expected pretrained ones, without which features are random"),
        (["--backbone", "lite0", "--backbone", "lite1", "--weights", "x"], "expected one network"),
        (["--backbone", "test_resnet", "--weights", "none.pth"], "none.pth: no such file"),
        (["none"], "no such folder"),
    ],
)
def test_bad_input_is_named_with_the_remedy_and_nothing_is_written(
    arguments, expected, folders, trained, tmp_path, capsys
):
    given = [str(trained) if each == "RUN" else each for each in arguments]
    out = tmp_path / "f.npz"
    assert run(["features", *given, "--images", f"{folders}/target", "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert expected in told
    assert "Traceback" not in told
    assert not [*tmp_path.iterdir()]


def test_a_quiet_command_prints_the_result_alone(trained, folders, tmp_path, capsys):
    command = ["features", str(trained), "--images", f"{folders}/target", "--out", f"{tmp_path}/f.npz", "--quiet"]
    assert run(command) == 0
    told = capsys.readouterr()
    assert (told.out, told.err) == (f"features of 24 images in {tmp_path}/f.npz\n", "")


def judged(*arguments):
    """Returns what judge prints as JSON."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert run(["judge", *arguments, "--json"]) == 0
    return json.loads(printed.getvalue())


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Pictures, the arguments for the tables of two models, and their judgements without features and by pictures."""
    pictures = write_pictures(tmp_path_factory.mktemp("pictures"))
    tables = [f"{pictures}/old.csv", f"{pictures}/new.csv", "--reference", "old"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DALIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        return pictures, tables, judged(*tables), judged(*tables, "--images", f"{pictures}/target")


@pytest.mark.parametrize("name", ["f.npz", "f.parquet", "f"])
def test_judge_takes_the_features_of_a_backbone_that_no_model_trained(name, elsewhere, tmp_path, monkeypatch, capsys):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    pictures, tables, without, built_in = elsewhere
    out = tmp_path / name
    assert run(["features", "--backbone", "lite0", "--images", f"{pictures}/target", "--out", str(out)]) == 0
    assert "1280 features of each image: backbone tf_efficientnet_lite0" in capsys.readouterr().out
    with_features = judged(*tables, "--features", str(out))
    assert with_features["pairs"]
    assert not without["pairs"]
    assert [each["name"] for each in with_features["models"]] == [each["name"] for each in built_in["models"]]
