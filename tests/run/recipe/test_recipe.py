"""Presets, lengths, kept weights and named sets, through the command line."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dalib.commands.config_file import read_config
from dalib.commands.main import run
from dalib.judge.evidence import Confidence
from dalib.models.averaged import AveragedViews
from dalib.models.network import load_model
from dalib.records.folder import RunFolder
from dalib.run.recipe import recipe
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.presets import changed, configured

QUICK = ["--batch", "4", "--every.log", "2", "--every.evaluate", "2", "--every.checkpoint", "2"]


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A data root with 40 + 20 images of mnist and 20 of fashion-mnist, which has no test set here."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for folder, split, count in (("MNIST", "train", 40), ("MNIST", "t10k", 20), ("FashionMNIST", "train", 20)):
        write_idx(root / folder / "raw" / f"{split}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28)))
        write_idx(root / folder / "raw" / f"{split}-labels-idx1-ubyte", np.arange(count) % 10)
    return root


def train(root, out, *arguments, source="mnist", target="mnist"):
    code = run(
        ["train", "--source", source, "--target", target, "--root", str(root), "--out", str(out), *QUICK, *arguments]
    )
    assert code == 0
    return RunFolder.existing(out)


def test_a_named_target_is_measured_on_its_test_set(root, tmp_path, capsys):
    found = train(root, tmp_path / "run", "--steps", "2", "--baseline", "false")
    (evaluation,) = found.evaluations.iterdir()
    assert json.loads(evaluation.read_text())["count"] == 20
    assert "of 20 images of mnist-test" in capsys.readouterr().out


def test_a_test_set_that_is_absent_or_of_other_classes_stops_nothing(root, tmp_path, capsys):
    found = train(root, tmp_path / "run", "--steps", "2", "--baseline", "false", target="fashion-mnist")
    assert "not measured on fashion-mnist-test" in capsys.readouterr().out
    assert not found.evaluations.exists()
    assert json.loads(found.summary.read_text())["status"] == "done"


def test_a_test_set_that_was_asked_for_must_fit(root, tmp_path, capsys):
    arguments = ["--source", "fashion-mnist", "--target", "fashion-mnist", "--root", str(root)]
    assert run(["train", *arguments, "--evaluate", "mnist-test", "--out", str(tmp_path / "run")]) == 2
    assert "--evaluate mnist-test" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_eval_finds_named_sets_below_root(root, tmp_path, capsys):
    found = train(root, tmp_path / "run", "--steps", "2", "--baseline", "false")
    assert run(["eval", str(found.root), "--data", "mnist", "--root", str(root)]) == 0
    assert "of 40 images of mnist " in capsys.readouterr().out
    assert run(["eval", str(found.root), "--data", "usps-test", "--root", str(root)]) == 2
    assert "usps.t.bz2" in capsys.readouterr().err


def test_checks_counts_named_sets(root, capsys):
    assert run(["checks", "--source", "mnist", "--target", "fashion-mnist", "--root", str(root), *QUICK]) == 0
    out = capsys.readouterr().out
    assert "source mnist: 40 images, 10 classes" in out
    assert "target fashion-mnist: 20 images" in out


def test_epochs_are_counted_in_the_larger_set_and_written_as_steps(root, tmp_path):
    found = train(root, tmp_path / "run", "--epochs", "1", "--data.validation_share", "0.1", "--baseline", "false")
    config = read_config(found.config)
    assert (config.steps, config.epochs) == (10, None)  # 36 source images and 40 target images, 4 a step


def test_the_baseline_has_its_own_length(root, tmp_path):
    found = train(root, tmp_path / "run", "--steps", "4", "--baseline_steps", "2")
    steps = [json.loads(folder.metrics.read_text().splitlines()[-1])["step"] for folder in (found, found.source_only)]
    assert steps == [4, 2]


def test_the_most_confident_weights_become_the_model(root, tmp_path):
    settings = [
        "--steps",
        "6",
        "--select",
        "most-confident",
        "--self_ensemble.threshold",
        "0.2",
        "--optimizer.lr",
        "0.01",
    ]
    found = train(root, tmp_path / "run", *settings, "--baseline", "false")
    lines = [json.loads(line) for line in found.metrics.read_text().splitlines()]
    best = max(lines, key=lambda line: (line["mask_rate"], -line["step"]))["step"]
    assert json.loads(found.summary.read_text())["kept_step"] == best
    kept, model = (load_file(folder / "model.safetensors") for folder in (found.kept / "model", found.model))
    assert all(torch.equal(kept[name], model[name]) for name in model)


def test_without_validation_images_nothing_is_said_of_the_source(root, tmp_path):
    found = train(root, tmp_path / "run", "--steps", "2", "--data.validation_share", "0", "--baseline", "false")
    (model,) = json.loads(found.summary.read_text())["models"].values()
    assert "source_validation_accuracy" not in model
    assert "<html" in found.report.read_text()


@pytest.mark.parametrize("preset", ["paper-small", "digits", "coloured-characters"])
def test_a_preset_trains_and_predicts(preset, root, tmp_path):
    found = train(root, tmp_path / "run", "--preset", preset, "--steps", "2")
    assert read_config(found.config).preset == preset
    assert found.model.exists()


def test_an_unknown_preset_is_one_line_and_exit_code_2(capsys):
    assert run(["train", "--preset", "digit"]) == 2
    error = capsys.readouterr().err
    assert "--preset" in error
    assert "digits" in error


def test_bfloat16_trains_and_keeps_float32_weights(root, tmp_path):
    found = train(root, tmp_path / "run", "--steps", "2", "--precision", "bfloat16", "--baseline", "false")
    assert {tensor.dtype for tensor in load_file(found.model / "model.safetensors").values()} <= {
        torch.float32,
        torch.int64,
    }


def test_a_model_of_averaged_views_predicts_by_them_wherever_it_is_loaded(root, tmp_path, capsys):
    found = train(root, tmp_path / "run", "--steps", "2", "--model.averaged_views", "3", "--warm_start", "true")
    model, description = load_model(found.model)
    assert isinstance(model, AveragedViews)
    assert description.architecture.averaged_views == 3
    images = torch.rand(4, 1, 28, 28)
    assert not torch.allclose(model(images).softmax(dim=1), model.model(images).softmax(dim=1))
    assert run(["eval", str(found.root), "--data", "mnist-test", "--root", str(root)]) == 0
    evaluated = json.loads(next(found.evaluations.iterdir()).read_text())
    assert set(evaluated["models"]) == {"adapted", "aligned", "source-only"}


def test_a_negative_number_of_views_is_refused_before_anything_is_read(tmp_path, capsys):
    assert run(["train", "--model.averaged_views", "-1", "--out", str(tmp_path / "run")]) == 2
    assert "averaged_views" in capsys.readouterr().err


def test_recomputed_statistics_are_those_of_the_target(root, tmp_path):
    settings = ["--steps", "2", "--baseline", "false"]
    plain = load_file(train(root, tmp_path / "a", *settings).model / "model.safetensors")
    found = train(root, tmp_path / "b", *settings, "--statistics", "recomputed")
    recomputed = load_file(found.model / "model.safetensors")
    changed = {name for name in plain if not torch.equal(plain[name], recomputed[name])}
    assert changed
    assert all("running" in name or "num_batches" in name for name in changed)


def test_a_source_only_run_has_no_confident_target_images_to_choose_by(root, tmp_path):
    found = train(root, tmp_path / "run", "--preset", "paper-small", "--method", "source-only", "--steps", "2")
    assert list(found.models()) == ["source-only"]
    assert not found.kept.exists()


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("self-ensemble", Confidence(0.8)),
        ("fixmatch", Confidence(0.7)),
        ("adamatch", Confidence(0.6, of_source=True)),
        *((method, Confidence(0.9)) for method in ("mean-teacher", "mcc", "source-only")),
    ],
)
def test_images_are_confident_from_the_methods_own_threshold(method, expected):
    config = TrainConfig(method=method)
    for group, value in {"self_ensemble": 0.8, "fixmatch": 0.7, "adamatch": 0.6}.items():
        name = f"{group}.threshold"
        config = changed(config, name.split("."), value, name)
    assert recipe.confidence_of(config) == recipe.make_judge_settings(config).confidence == expected


@pytest.mark.parametrize(
    ("method", "setting", "value"), [("self-ensemble", "ramp_up_steps", 80), ("mean-teacher", "ramp_up", 0.27)]
)
def test_the_last_stages_have_the_whole_weight_at_once(method, setting, value):
    group = method.replace("-", "_")
    config = changed(TrainConfig(method=method), [group, setting], value, f"{group}.{setting}")
    assert getattr(getattr(recipe.of_stages(config), group), setting) == 0


def test_a_shortened_run_has_no_more_views_and_steps_than_were_asked_for():
    own = recipe.shortened(configured("photo-features", {"steps": 1500, "time_limit": None}), views=2, steps=400)
    assert (own.features, own.steps, own.baseline_steps, own.every.evaluate) == (2, 400, None, 400)
    short = configured("photo-features", {"steps": 1500, "baseline_steps": 60, "features": 0})
    own = recipe.shortened(short, views=2, steps=400)
    assert (own.features, own.steps, own.baseline_steps) == (0, 60, None)
