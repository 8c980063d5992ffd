"""Several backbones through the command line: their features joined, kept apart, and found again in every form."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import dalib
from dalib.commands.arguments import prepared
from dalib.commands.config_file import read_config
from dalib.commands.main import run
from dalib.records.folder import RunFolder
from noisy_photos import (
    assert_images_are_predicted_as_features_were,
    assert_it_resumes_to_the_same_weights,
    write_domain,
    write_weights,
)

LARGE, SMALL = "mobilenetv3_small_050", "test_resnet"  # of 224 and 160 pixels, with means and deviations of their own
QUICK = [
    "--batch",
    "8",
    "--every.evaluate",
    "4",
    "--steps",
    "4",
    "--features",
    "2",
    "--model.averaged_views",
    "2",
    "--feature_precision",
    "float32",
]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """here/ and there/ with a folder for each of two colours, and the weights of two networks."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    write_domain(root / "here", {"blue": 12, "red": 12}, 0, rng)
    write_domain(root / "there", {"blue": 5, "red": 5}, 40, rng)
    for name in (LARGE, SMALL):
        write_weights(root / f"{name}.safetensors", name)
    return root


def network_of(photos, *names):
    return [part for name in names for part in ("--backbone", name, "--weights", f"{photos}/{name}.safetensors")]


def train(photos, out, *more, names=(LARGE, SMALL)):
    where = ["--source", f"{photos}/here", "--target", f"{photos}/there", "--out", str(out)]
    assert run(["train", *where, *network_of(photos, *names), *QUICK, *more]) == 0
    return RunFolder.existing(out)


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    return train(photos, tmp_path_factory.mktemp("runs") / "run", "--evaluate", f"{photos}/there")


def test_the_saved_network_has_the_weights_of_each_backbone(trained, photos):
    saved = load_file(trained.model / "model.safetensors")
    for number, name in enumerate((LARGE, SMALL)):
        expected = load_file(photos / f"{name}.safetensors")
        assert all(torch.equal(saved[f"backbone.members.{number}.network.{key}"], expected[key]) for key in expected)
    config = read_config(trained.config)
    assert (config.preset, config.backbone) == ("photo-features", [LARGE, SMALL])
    description = json.loads((trained.model / "config.json").read_text())
    assert [each["size"] for each in description["architecture"]["inputs"]] == [224, 160]
    assert description["preprocessing"]["crop"] == 224


def test_prediction_of_images_agrees_with_what_training_predicted_of_features(trained, photos, tmp_path):
    assert list(json.loads(trained.summary.read_text())["models"]) == ["source-only", "aligned", "adapted"]
    assert_images_are_predicted_as_features_were(trained, photos / "there", ("blue", "red"), tmp_path)


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(trained, tmp_path):
    assert_it_resumes_to_the_same_weights(trained, tmp_path)


def test_a_kit_of_several_is_enough_to_adapt_from(trained, photos, tmp_path):
    kit, out = tmp_path / "studio.dalib", tmp_path / "adapted"
    assert run(["export", str(trained.root), "--format", "kit", "--out", str(kit)]) == 0
    assert run(["train", "--kit", str(kit), "--target", f"{photos}/there", "--out", str(out), *QUICK]) == 0
    first, second = (load_file(each / "source-only/model/model.safetensors") for each in (trained.root, out))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert read_config(out / "config.yaml").backbone == [LARGE, SMALL]


def test_the_report_and_the_card_name_all(trained, tmp_path):
    assert run(["export", str(trained.root), "--format", "torch", "--out", str(tmp_path / "m")]) == 0
    assert f"{LARGE} + {SMALL}".replace("_", r"\_") in (tmp_path / "m" / "README.md").read_text()
    assert LARGE in trained.report.read_text()


def test_eval_and_a_run_that_starts_from_it_know_all(trained, photos, capsys):
    capsys.readouterr()
    assert run(["eval", str(trained.root), "--data", f"{photos}/there"]) == 0
    assert "features of" not in capsys.readouterr().out  # of the images that the run has predicted they are kept
    assert f'--backbone=["{LARGE}", "{SMALL}"]' in prepared(["train", "--init", str(trained.root)]).arguments


def test_python_takes_a_list(photos, tmp_path):
    found = dalib.adapt(
        photos / "here",
        photos / "there",
        backbone=[LARGE, SMALL],
        weights=[photos / f"{name}.safetensors" for name in (LARGE, SMALL)],
        features=2,
        steps=2,
        batch=8,
        baseline=False,
        out=tmp_path / "run",
    )
    assert len(found.predict(photos / "there")) == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "lite0", "--backbone", "small"], "small is a small network that is to be trained itself"),
        (["--backbone", "lite0", "--backbone", "lite0"], "stands there twice; expected different ones"),
        (
            ["--backbone", "lite0", "--backbone", "resnet18"],
            "--backbone resnet18: no pretrained weights, and stored features (--features 4)",
        ),
        (["--backbone", "lite0", "--weights", "a", "--weights", "b"], "2 of them for one backbone"),
        (["--backbone", "lite0", "--backbone", "resnet-18", "--weights", "hub"], "unknown network of timm's"),
        (["--backbone", "lite0,lite2"], "for several backbones, repeat the setting"),
        (
            ["--preset", "photo", "--backbone", "lite0", "--backbone", "resnet18", "--weights", "w.pth"],
            "several backbones are joined by their stored features; expected --features 4",
        ),
    ],
)
def test_a_mistake_is_one_line(arguments, message, photos, tmp_path, capsys):
    where = ["--source", f"{photos}/here", "--target", f"{photos}/there", "--out", str(tmp_path / "run")]
    assert run(["train", *where, *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.strip().splitlines()) == 1
