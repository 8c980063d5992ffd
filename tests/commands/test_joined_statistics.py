"""Features with pretrained and with each domain's batch-normalisation statistics side by side, by command line."""

import csv
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import dalib
from dalib.commands.config_file import read_config
from dalib.commands.main import run
from dalib.data.sources import open_target
from dalib.models.domain_statistics import normalisation_statistics
from dalib.models.network import load_classifier
from dalib.models.pretrained import PretrainedBackbone
from dalib.records.folder import RunFolder
from dalib.run import checks as checking
from dalib.run import length
from dalib.run import train as training
from dalib.run.features import feature_space, own_statistics
from dalib.run.start.initial_weights import Start
from dalib.run.start.kit import MISSING_OF_MODEL
from dalib.run.start.model_alone import open_in_place_of_source
from dalib.run.timing.pace import Pace
from noisy_photos import (
    assert_images_are_predicted_as_features_were,
    assert_it_resumes_to_the_same_weights,
    write_domain,
    write_weights,
)

NAME = "test_resnet"
QUICK = ["--batch", "8", "--every.evaluate", "4", "--steps", "4", "--features", "2", "--model.averaged_views", "2"]
QUICK += ["--feature_precision", "float32"]  # to which predictions of images are compared
JOINED = ["--model.domain_statistics", "joined"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """here/ and there/ with a folder for each of two colours, and the weights of a network."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    write_domain(root / "here", {"blue": 12, "red": 12}, 0, rng, "png")
    write_domain(root / "there", {"blue": 9, "red": 9}, 40, rng, "png")
    write_weights(root / "w.safetensors", NAME)
    return root


def arguments(photos, out, *more):
    where = ["--source", f"{photos}/here", "--target", f"{photos}/there", "--out", str(out)]
    return ["train", *where, "--backbone", NAME, "--weights", f"{photos}/w.safetensors", *QUICK, *more]


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert run(arguments(photos, out, *JOINED, "--evaluate", f"{photos}/there")) == 0
    return RunFolder.existing(out)


@pytest.fixture(scope="module")
def kit(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("kits") / "studio.dalib"
    assert run(["export", str(trained.root), "--format", "kit", "--out", str(path)]) == 0
    return path


def test_the_saved_network_has_the_backbone_with_both_statistics(trained, photos):
    saved, pretrained = (load_file(each) for each in (trained.model / "model.safetensors", photos / "w.safetensors"))
    statistics = normalisation_statistics(PretrainedBackbone(NAME).network)
    for key, each in pretrained.items():
        first, second = (saved[f"backbone.members.{number}.network.{key}"] for number in (0, 1))
        assert torch.equal(first, each)
        assert torch.equal(second, each) != (key in statistics)
    config = read_config(trained.config)
    assert (config.backbone, config.model.domain_statistics) == (NAME, "joined")
    assert NAME in trained.report.read_text()


def test_prediction_of_images_agrees_with_what_training_predicted_of_features(trained, photos, tmp_path):
    assert_images_are_predicted_as_features_were(trained, photos / "there", ("blue", "red"), tmp_path)


def test_a_run_that_was_cut_off_goes_on_to_the_same_weights(trained, tmp_path):
    assert_it_resumes_to_the_same_weights(trained, tmp_path)


@pytest.mark.parametrize("form", ["torch", "hf", "onnx"])
def test_each_export_predicts_as_the_run_does(trained, photos, tmp_path, form):
    if form == "onnx":
        pytest.importorskip("onnx")
    made = tmp_path / ("m.onnx" if form == "onnx" else "m")
    assert run(["export", str(trained.root), "--format", form, "--out", str(made)]) == 0
    found = []
    for number, model in enumerate((trained.root, made)):
        out = tmp_path / f"{number}.csv"
        assert run(["predict", str(model), "--images", f"{photos}/there", "--out", str(out)]) == 0
        found.append([float(row["confidence"]) for row in csv.DictReader(out.read_text().splitlines())])
    assert found[1] == pytest.approx(found[0], abs=2e-3)


def test_a_kit_adapts_with_its_own_statistics_and_no_other(kit, trained, photos, tmp_path, capsys):
    out, asked = tmp_path / "adapted", ["train", "--kit", str(kit), "--target", f"{photos}/there", *QUICK]
    assert run([*asked, "--out", str(out)]) == 0
    assert read_config(out / "config.yaml").model.domain_statistics == "joined"
    first, second = (load_file(each / "source-only/model/model.safetensors") for each in (trained.root, out))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert run([*asked, "--model.domain_statistics", "0.3", "--out", str(tmp_path / "no")]) == 2
    assert "leave out --model.domain_statistics 0.3" in capsys.readouterr().err
    assert run([*asked, "--backbone", "lite1", "--out", str(tmp_path / "no")]) == 2  # whose weights are not installed
    assert f"--backbone lite1: --kit {kit} brings its own backbone, {NAME}" in capsys.readouterr().err


def test_checks_describes_a_kit_its_target_and_the_time(kit, photos, capsys):
    assert run(["checks", "--kit", str(kit), "--target", f"{photos}/there", *QUICK]) == 0
    told = capsys.readouterr().out
    assert f"kit {kit}: statistics of 22 images, 2 to validate, 2 classes\n  blue: " in told
    assert f"target {photos}/there: 18 images" in told
    assert " views/s, 72 to compute" in told  # 2 to train on, and 2 to predict by, of each
    assert " steps/s, 4 steps: " in told
    assert "source-only" not in told  # the kit has it
    assert "all in all about" in told
    assert "cannot be estimated from 18 images; that takes 30" in told
    assert run(["checks", "--kit", str(kit), "--source", f"{photos}/here", "--target", f"{photos}/there"]) == 2
    assert "expected no source with --kit" in capsys.readouterr().err


def test_checks_describes_a_model_alone(bare, elsewhere, capsys):
    assert run(["checks", "--kit", str(bare), "--target", str(elsewhere), *QUICK, "--model.averaged_views", "0"]) == 0
    told = capsys.readouterr().out
    assert f"kit {bare}: a model alone, 2 classes: blue, red" in told
    assert "all in all about" in told
    assert "is not estimated: with a model alone in place of the source" in told


def test_a_run_from_a_kit_prints_its_time_after_the_opening(kit, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(length, "SHORT", 0)
    pace = Pace({"adapted": 0.4}, 0.0, view=1.0, mapped=0.0)
    monkeypatch.setattr(length, "measure_pace", lambda *given, **more: pace)
    asked = ["train", "--kit", str(kit), "--target", f"{photos}/there", *QUICK]
    assert run([*asked, "--out", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("about 2 minutes in all, as measured on this machine: ")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Images of another target than that of the run."""
    root = tmp_path_factory.mktemp("elsewhere")
    write_domain(root / "lake", {"blue": 9, "red": 9}, 20, np.random.default_rng(1), "png")
    return root / "lake"


@pytest.fixture(scope="module")
def begun(trained, photos, elsewhere, tmp_path_factory):
    """A run on another target that starts from the first one."""
    where = ["--source", f"{photos}/here", "--target", str(elsewhere), "--init", str(trained.root), *QUICK]
    out = tmp_path_factory.mktemp("begun") / "run"
    assert run(["train", *where, "--out", str(out)]) == 0
    return RunFolder.existing(out)


def test_a_run_starts_from_one_of_both_statistics_with_those_of_its_own_domains(begun, trained, photos):
    config = read_config(begun.config)
    assert (config.backbone, config.model.domain_statistics) == (NAME, "joined")
    pretrained = load_file(photos / "w.safetensors")
    before, after = (load_file(each.model / "model.safetensors") for each in (trained, begun))
    statistics = normalisation_statistics(PretrainedBackbone(NAME).network)
    for key, each in pretrained.items():
        first, second = (f"backbone.members.{number}.network.{key}" for number in (0, 1))
        assert torch.equal(after[first], each)
        assert torch.equal(after[second], before[second]) == (key not in statistics)
        assert torch.equal(after[second], each) == (key not in statistics)


def test_a_run_that_starts_from_one_of_both_statistics_predicts_and_resumes_as_others(begun, elsewhere, tmp_path):
    assert_images_are_predicted_as_features_were(begun, elsewhere, ("blue", "red"), tmp_path)
    assert_it_resumes_to_the_same_weights(begun, tmp_path)


def test_on_the_same_images_a_start_that_learns_nothing_is_the_model_that_it_starts_from(trained, photos, tmp_path):
    where = ["--source", f"{photos}/here", "--target", f"{photos}/there", "--init", str(trained.root), *QUICK]
    still = ["--optimizer.lr", "1e-12", "--optimizer.weight_decay", "0", "--keep", "adapted"]
    assert run(["train", *where, *still, "--out", str(tmp_path / "run")]) == 0
    for folder in ("model", "source-only/model"):
        before, after = (load_file(each / folder / "model.safetensors") for each in (trained.root, tmp_path / "run"))
        learned = [name for name in before if name.startswith(("head.", "backbone."))]
        assert len(learned) > 4
        for name in learned:
            assert torch.allclose(after[name].double(), before[name].double(), atol=1e-5), name


def test_in_python_too_a_run_takes_the_backbone_of_the_one_that_it_starts_from(trained, photos, tmp_path):
    settings = {"features": 2, "steps": 2, "batch": 8, "feature_precision": "float32"}
    begun = dalib.adapt(photos / "here", photos / "there", init=trained.root, out=tmp_path / "run", **settings)
    config = read_config(begun.path / "config.yaml")
    assert (config.backbone, config.model.domain_statistics) == (NAME, "joined")


def test_a_run_of_both_statistics_starts_no_other_kind_of_network(trained, photos, tmp_path, capsys):
    where = ["--source", f"{photos}/here", "--target", f"{photos}/there", "--out", str(tmp_path / "no")]
    start = ["--init", str(trained.root)]
    for more, told in (
        (
            ["--preset", "photo", "--backbone", NAME],
            "trained no further, as --features 0 asks for; expected --features 4",
        ),
        ([*QUICK, "--model.trained_stages", "1"], "expected --model.trained_stages 0, or a run with"),
        ([*QUICK, "--model.domain_statistics", "0"], "expected --model.domain_statistics joined, or none"),
    ):
        assert run(["train", *where, *more, *start]) == 2
        assert told in capsys.readouterr().err


@pytest.fixture(scope="module")
def bare(trained, tmp_path_factory):
    """The run's model alone."""
    path = tmp_path_factory.mktemp("bare") / "m"
    assert run(["export", str(trained.root), "--format", "torch", "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def adapted(bare, elsewhere, tmp_path_factory):
    out = tmp_path_factory.mktemp("adapted") / "run"
    assert run(["train", "--kit", str(bare), "--target", str(elsewhere), *QUICK, "--out", str(out)]) == 0
    return RunFolder.existing(out)


def test_a_model_alone_adapts_with_statistics_of_its_new_target(adapted, bare, photos):
    assert read_config(adapted.config).model.domain_statistics == "joined"
    pretrained, before = load_file(photos / "w.safetensors"), load_file(bare / "model.safetensors")
    statistics = normalisation_statistics(PretrainedBackbone(NAME).network)
    for folder in (adapted.model, adapted.source_only.model):
        after = load_file(folder / "model.safetensors")
        for key, each in pretrained.items():
            first, second = (f"backbone.members.{number}.network.{key}" for number in (0, 1))
            assert torch.equal(after[first], each)
            assert torch.equal(after[second], before[second]) == (key not in statistics)
            assert torch.equal(after[second], each) == (key not in statistics)
    assert MISSING_OF_MODEL in adapted.read_judgement().reasons


def test_a_run_from_a_model_alone_predicts_resumes_and_exports_as_one_with_its_source(adapted, elsewhere, tmp_path):
    assert_images_are_predicted_as_features_were(adapted, elsewhere, ("blue", "red"), tmp_path)
    assert_it_resumes_to_the_same_weights(adapted, tmp_path)
    assert run(["export", str(adapted.root), "--format", "torch", "--out", str(tmp_path / "m")]) == 0


def test_classes_of_a_model_alone_are_predicted_with_statistics_of_its_new_target(bare, adapted, elsewhere):
    kit = open_in_place_of_source(str(bare), 2, torch.device("cpu"), own_statistics.with_own_statistics)
    assert kit.domain_statistics == "joined"
    images = open_target(str(elsewhere), kit.description.preprocessing, cache="ram").images
    network, description = load_classifier(adapted.source_only.model)  # its head is the model's
    with torch.no_grad():
        predicted = network(description.preprocessing.normalize(images)).argmax(dim=1)
    assert kit.for_target(images).header.counts == tuple(torch.bincount(predicted, minlength=2).tolist())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--model.domain_statistics", "0"], "leave out --model.domain_statistics 0"),
        (["--preset", "photo"], "expected --features 4 or more"),
        (["--features", "0"], "expected --features 4 or more"),
        (["--backbone", "resnet18"], "brings its own backbone"),
    ],
)
def test_a_model_alone_refuses_settings_of_another_network(more, told, bare, elsewhere, tmp_path, capsys):
    where = ["--kit", str(bare), "--target", str(elsewhere), "--out", str(tmp_path / "no")]
    assert run(["train", *where, *more]) == 2
    assert told in capsys.readouterr().err


def test_a_target_of_few_images_has_no_statistics_for_a_model_alone(bare, tmp_path, capsys):
    write_domain(tmp_path / "few", {"blue": 8, "red": 7}, 20, np.random.default_rng(1), "png")
    assert run(["train", "--kit", str(bare), "--target", f"{tmp_path}/few", "--out", str(tmp_path / "no")]) == 2
    assert "it has 15 images, too few" in capsys.readouterr().err


def test_two_backbones_of_one_name_and_other_weights_are_no_backbone_that_stands_twice(
    bare, elsewhere, tmp_path, capsys
):
    weights = load_file(bare / "model.safetensors")
    changed = next(name for name in weights if name.startswith("backbone.members.1") and name.endswith("weight"))
    weights[changed] = weights[changed] + 1
    other = shutil.copytree(bare, tmp_path / "other")
    save_file(weights, other / "model.safetensors")
    assert run(["train", "--kit", str(other), "--target", str(elsewhere), "--out", str(tmp_path / "no")]) == 2
    assert "two backbones of the same name and with different weights" in capsys.readouterr().err


def test_auto_joins_where_one_domain_is_far_and_says_so(photos, tmp_path, monkeypatch, capsys):
    for number, bound in enumerate((0.0, float("inf"))):
        monkeypatch.setattr(own_statistics, "FAR", bound)
        out = tmp_path / str(number)
        assert run(arguments(photos, out, "--baseline", "false", "--model.domain_statistics", "auto")) == 0
        chosen = read_config(out / "config.yaml").model.domain_statistics
        assert chosen == ("joined" if bound == 0 else 0)
        assert ("unlike those that the backbone was trained on" in capsys.readouterr().out) == (bound == 0)
    assert Start.of(str(tmp_path / "1")).domain_statistics == 0


@pytest.mark.parametrize(("bound", "share"), [(0.0, "joined"), (float("inf"), 0.0)])
def test_the_first_line_counts_what_auto_will_choose_and_the_distance_is_computed_once(
    bound, share, photos, tmp_path, monkeypatch
):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(own_statistics, "FAR", bound)
    foreseen, computed = [], []
    mixed = feature_space.mixed_statistics
    monkeypatch.setattr(feature_space, "mixed_statistics", lambda *given: (computed.append(given[2]), mixed(*given))[1])
    monkeypatch.setattr(
        training, "say_length", lambda setup, *more: foreseen.append(setup.config.model.domain_statistics)
    )
    out = tmp_path / "run"
    assert run(arguments(photos, out, "--baseline", "false", "--model.domain_statistics", "auto")) == 0
    assert foreseen == [read_config(out / "config.yaml").model.domain_statistics] == [share]
    assert len(computed) == 2  # those of the source, and those of the target


def test_checks_tells_what_auto_will_choose_and_counts_its_time(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    pace = Pace({"adapted": 1.0, "source-only": 1.0}, row=0, view=1.0, mapped=0)
    monkeypatch.setattr(checking, "measure_pace", lambda *given, **more: pace)
    asked = ["checks", *arguments(photos, tmp_path / "run", "--model.domain_statistics", "auto")[1:]]
    lasts = []
    for bound, said in ((0.0, "--model.domain_statistics joined: the images of the"), (float("inf"), "statistics 0: ")):
        monkeypatch.setattr(own_statistics, "FAR", bound)
        assert run(asked) == 0
        printed = capsys.readouterr().out
        assert said in printed
        lasts.append(next(line for line in printed.splitlines() if line.startswith("features: ")))
    assert lasts[0] != lasts[1]
    assert not (tmp_path / "cache").exists()
