"""Images of more than 8 bits, through the command line: one range for a data set, kept with the model."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import dalib
from dalib.commands.main import run
from dalib.records.folder import RunFolder

SIDE = 16


def noisy(seed: int, shade: float) -> np.ndarray:
    values = np.clip(np.random.default_rng(seed).normal(shade, 50, (SIDE, SIDE)), 0, 255).astype(np.uint8)
    values[0, :2] = 0, 255
    return values


def folders(root, change, ending=".png", of_target=None):
    """source/dark, source/light and target, the same pictures whatever ``change`` makes of their 8 bits."""
    for number in range(8):
        for place, shade in (("source/dark", 60), ("source/light", 190), ("target", 120)):
            path = root / place / f"{number}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            made = of_target if of_target is not None and place == "target" else change
            Image.fromarray(made(noisy(1000 * number + int(shade), shade))).save(path)
    return root


def arguments(images, out, *more: str) -> list[str]:
    quick = "--steps 3 --batch 4 --data.size 16 --data.channels 1 --data.validation_share 0.2 --baseline false"
    where = ["--source", f"{images}/source", "--target", f"{images}/target", "--out", str(out)]
    return ["train", *where, *quick.split(), *more]


def weights(root) -> dict[str, torch.Tensor]:
    return load_file(RunFolder(root).model / "model.safetensors")


def assert_same_weights(first, second) -> None:
    ours, theirs = weights(first), weights(second)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def range_of(run_folder):
    return json.loads((run_folder / "model" / "config.json").read_text())["preprocessing"].get("range")


def predictions(model, images, out, *more: str) -> list[dict[str, str]]:
    assert run(["predict", str(model), "--images", str(images), "--out", str(out), *more]) == 0
    with out.open(newline="") as file:
        return list(csv.DictReader(file))


def twelve(values: np.ndarray) -> np.ndarray:
    return values.astype(np.uint16) * 16 + 7


@pytest.fixture(scope="module")
def of_8_bits(tmp_path_factory):
    root = tmp_path_factory.mktemp("8")
    assert run(arguments(folders(root / "images", lambda values: values), root / "run")) == 0
    return root / "run"


@pytest.fixture(scope="module")
def of_12_bits(tmp_path_factory):
    root = tmp_path_factory.mktemp("12")
    assert run(arguments(folders(root / "images", twelve), root / "run")) == 0
    return root


@pytest.mark.parametrize(
    ("change", "ending", "black_white"),
    [
        (lambda values: values.astype(np.uint16), ".png", [0, 255]),
        (lambda values: values.astype(np.int32), ".tif", [0, 255]),
        (lambda values: values.astype(np.int32) - 1000, ".tif", [-1000, -745]),
    ],
)
def test_a_model_does_not_depend_on_how_many_bits_its_images_are_stored_in(
    change, ending, black_white, of_8_bits, tmp_path, capsys
):
    assert run(arguments(folders(tmp_path / "images", change, ending), tmp_path / "run")) == 0
    assert_same_weights(of_8_bits, tmp_path / "run")
    assert range_of(tmp_path / "run") == black_white
    said = f"{black_white[0]} is black, {black_white[1]} white (--data.range)"
    assert capsys.readouterr().out.count(said) == 2  # source and target


def test_models_of_8_bits_are_written_as_before(of_8_bits):
    assert range_of(of_8_bits) is None
    assert "ranges" not in json.loads((of_8_bits / "summary.json").read_text())


def test_all_caches_train_on_the_same_12_bits_and_a_run_goes_on(of_8_bits, of_12_bits, tmp_path):
    assert_same_weights(of_8_bits, of_12_bits / "run")
    for policy in ("ram", "off"):
        assert run(arguments(of_12_bits / "images", tmp_path / policy, "--cache", policy)) == 0
        assert_same_weights(of_12_bits / "run", tmp_path / policy)
    shutil.rmtree(tmp_path / "off" / "model")
    assert run(["train", "--resume", str(tmp_path / "off")]) == 0
    assert range_of(tmp_path / "off") == [0, 4095]


def test_the_range_stays_with_the_model_at_every_door(of_12_bits, tmp_path, capsys, monkeypatch):
    found = of_12_bits / "run"
    new = tmp_path / "new"
    new.mkdir()
    Image.fromarray(twelve(noisy(1, 100)) // 16).save(new / "dim.png")  # which by itself would tell nothing
    Image.fromarray(np.full((SIDE, SIDE), 9000, np.uint16)).save(new / "beyond.png")
    rows = predictions(found, new, tmp_path / "off.csv")
    told = "1 image has values below 0 or above 4095, which become black or white"
    assert told in capsys.readouterr().out
    for policy in ("ram", "disk"):
        assert predictions(found, new, tmp_path / f"{policy}.csv", "--cache", policy) == rows
        assert told in capsys.readouterr().out
    assert run(["export", str(found), "--format", "torch-export", "--out", str(tmp_path / "model.pt2")]) == 0
    exported = predictions(tmp_path / "model.pt2", new, tmp_path / "exported.csv")
    assert [row["class"] for row in exported] == [row["class"] for row in rows]
    predictor = dalib.load(tmp_path / "model.pt2", device="cpu")
    assert predictor.model.description.preprocessing.range == (0, 4095)
    with pytest.warns(UserWarning, match=told):
        both = predictor([new / "beyond.png", new / "dim.png"])
    assert [each.label for each in both] == [row["class"] for row in rows]
    monkeypatch.setattr("os.path.expanduser", lambda path: str(path).replace("~", str(new), 1))
    with pytest.warns(UserWarning, match=told):
        assert predictor(["~/beyond.png", new / "dim.png"]) == both
    with pytest.warns(UserWarning, match=told):
        assert predictor("~/beyond.png").label == both[0].label
    # of 8 bits and of 12, the same picture
    Image.fromarray(noisy(5, 90)).save(tmp_path / "8.png")
    Image.fromarray(twelve(noisy(5, 90))).save(tmp_path / "12.png")
    with Image.open(tmp_path / "12.png") as opened:
        first, second, third = predictor([tmp_path / "8.png", tmp_path / "12.png", opened])
    assert first == second == third
    assert run(["eval", str(found), "--data", f"{of_12_bits}/images/source"]) == 0
    assert run(["query", str(found), "--n", "2", "--out", str(tmp_path / "list.csv")]) == 0
    assert (tmp_path / "list.html").is_file()


def test_a_model_of_8_bits_refuses_what_it_knows_no_range_of(of_8_bits, tmp_path, capsys):
    new = tmp_path / "new"
    new.mkdir()
    Image.fromarray(noisy(1, 100)).save(new / "8.png")
    Image.fromarray(noisy(1, 100).astype(np.uint16) * 257).save(new / "16.png")
    Image.fromarray(noisy(1, 100).astype(np.uint16)).save(new / "none.png")
    for policy in ("off", "disk"):
        rows = {row["path"][len(str(new)) + 1 :]: row for row in predictions(of_8_bits, new, tmp_path / "p.csv")}
        assert rows.keys() == {"8.png", "16.png"}
        assert rows["8.png"]["confidence"] == rows["16.png"]["confidence"]
        assert "none.png: whole numbers from 0 to 255, and nothing tells" in capsys.readouterr().out, policy


def test_domains_of_different_devices_have_their_own_ranges_and_the_model_has_the_targets(of_8_bits, tmp_path):
    images = folders(tmp_path / "images", twelve, of_target=lambda values: values.astype(np.uint16) * 257)
    assert run(arguments(images, tmp_path / "run")) == 0
    assert_same_weights(of_8_bits, tmp_path / "run")
    assert range_of(tmp_path / "run") == [0, 65535]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["ranges"]["source"] == [0, 4095]


def test_a_range_can_be_set_for_both_or_for_each_and_what_is_beyond_is_told(of_8_bits, of_12_bits, tmp_path, capsys):
    images = of_12_bits / "images"
    assert run(arguments(images, tmp_path / "run", "--data.range", "0,4095/0,2047")) == 0
    assert range_of(tmp_path / "run") == [0, 2047]
    told = capsys.readouterr().out
    assert f"--target {images}/target: 8 images have values below 0 or above 2047" in told
    assert "above 4095" not in told
    signed = folders(tmp_path / "images", lambda values: values.astype(np.int32) - 1000, ".tif")
    assert run(arguments(signed, tmp_path / "signed", "--data.range", "-1000,-745")) == 0
    assert_same_weights(of_8_bits, tmp_path / "signed")
    written = ["train", "--config", str(tmp_path / "signed" / "config.yaml"), "--out", str(tmp_path / "again")]
    assert run(written) == 0
    assert_same_weights(of_8_bits, tmp_path / "again")


@pytest.mark.parametrize("given", ["4095", "0,a", "0,1,2", "0,1/2", "9,3", "0,1/0,1/0,1", ""])
def test_a_range_that_is_none_is_refused_before_anything_is_read(given, tmp_path, capsys):
    assert run(arguments(tmp_path, tmp_path / "run", f"--data.range={given}")) == 2
    assert "--data.range" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", "checks"])
def test_images_that_tell_no_range_are_refused_with_the_remedy(command, tmp_path, capsys):
    images = folders(tmp_path / "images", lambda values: (values // 64).astype(np.uint16))
    given = [command, *arguments(images, tmp_path / "run")[1:]]
    assert run(given) == 2
    said = capsys.readouterr().err
    assert f"--data.range: source {images}/source: values from 0 to 3" in said
    assert "--data.range=0,3" in said
    assert not (tmp_path / "run").exists()
    assert run([*given, "--data.range=0,3"]) == 0


def test_checks_shows_least_and_greatest_and_warns_of_images_of_one_colour(tmp_path, capsys):
    images = folders(tmp_path / "images", twelve)
    Image.fromarray(np.full((SIDE, SIDE), 300, np.uint16)).save(images / "source" / "dark" / "0.png")
    Image.fromarray(np.full((SIDE, SIDE, 3), 30, np.uint8)).save(images / "source" / "light" / "0.png")
    assert run(["checks", *arguments(images, tmp_path / "run")[1:]]) == 0
    said, warned = capsys.readouterr()
    assert "more than 8 bits in 15 images: minimum 7, maximum 4087" in said
    assert f"2 images are of one colour and show nothing, for instance {images}/source/dark/0.png" in warned
    assert "15 of 16 images are of more than 8 bits, with values from 7 to 4087; 0 is black, 4095 white" in said


def test_checks_counts_files_of_more_than_8_bits_that_are_cut_off(tmp_path, capsys):
    # by itself no such file tells its range, which is no damage
    images = folders(tmp_path / "images", twelve)
    file = images / "source" / "dark" / "3.png"
    file.write_bytes(file.read_bytes()[:-200])
    assert run(["checks", *arguments(images, tmp_path / "run")[1:]]) == 0
    said = capsys.readouterr().out
    assert f"source {images}/source: 15 images, 2 classes" in said
    assert f"target {images}/target: 8 images" in said
    assert f"skipped 1 image that cannot be read:\n  {file}: image file is truncated" in said
