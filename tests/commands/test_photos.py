"""Photographs through the command line: backbones of timm, features, the cache, runs to start from, and mistakes."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dalib.commands.arguments import with_repeated_united
from dalib.commands.config_file import read_config
from dalib.commands.main import run
from dalib.data.decoding import read_pixels
from dalib.data.prefetch import Prefetched
from dalib.engine import train as training
from dalib.engine.features import FeatureStore
from dalib.models.pretrained import PretrainedBackbone
from dalib.models.saved import load_description
from dalib.models.weights import load_weights
from dalib.records.folder import RunFolder
from dalib.run import setup
from dalib.run.features.fastest import features_folder
from dalib.run.features.feature_space import Averaged, FeatureSpace, standardization
from dalib.run.recipe import image_network, recipe
from dalib.run.start.domains import open_domains
from noisy_photos import write_domain, write_weights

BACKBONE = "test_resnet"
QUICK = ["--data.size", "32", "--batch", "8", "--every.log", "2", "--every.evaluate", "4", "--every.checkpoint", "2"]
QUICK += ["--model.domain_statistics", "0"]  # noise is far from photographs; tests of joined statistics have a file


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """here/ and there/ with a folder for each of three colours, their lists, and weights of two networks."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    write_domain(root / "here", dict.fromkeys(CLASSES, 8), 0, rng)
    write_domain(root / "there", dict.fromkeys(CLASSES, 6), 40, rng)
    for domain in ("here", "there"):
        paths = sorted((root / domain).rglob("*.jpg"))
        rows = [f"{domain}/{path.relative_to(root / domain)},{path.parent.name}" for path in paths]
        (root / f"{domain}.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    write_weights(root / "weights.safetensors", BACKBONE)
    write_weights(root / "others.safetensors", BACKBONE, seed=1)
    write_weights(root / "vit.safetensors", "test_vit")
    return root


def arguments_of(photos, out, *more, source="here", target="there", weights="weights"):
    where = ["--source", f"{photos}/{source}", "--target", f"{photos}/{target}", "--out", str(out)]
    given = {"--backbone": BACKBONE, "--weights": f"{photos}/{weights}.safetensors"}
    network = [each for name, value in given.items() if name not in more for each in (name, value)]
    return ["train", *where, *network, *QUICK, *(() if "--steps" in more else ("--steps", "4")), *more]


def train(photos, out, *more, **settings):
    assert run(arguments_of(photos, out, *more, **settings)) == 0
    return RunFolder.existing(out)


def weights_of(folder):
    return load_file(folder / "model.safetensors")


def assert_same_weights(first, second):
    first, second = weights_of(first), weights_of(second)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def predictions_of(found, photos, out, *more):
    assert run(["predict", str(found.root), "--images", f"{photos}/there", "--out", str(out), *more]) == 0
    return list(csv.DictReader(out.read_text().splitlines()))


CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    return train(photos, tmp_path_factory.mktemp("runs") / "run")


# features


def test_a_backbone_without_a_preset_is_trained_on_features(trained):
    config = read_config(trained.config)
    assert (config.preset, config.features, config.model.standardize) == ("photo-features", 4, True)
    assert list(trained.models()) == ["adapted", "aligned", "source-only"]
    summary = json.loads(trained.summary.read_text())
    assert summary["status"] == "done"
    assert summary["seconds"].keys() == {"data", "features", "source-only", "aligned", "adapted", "judgement"}
    assert summary["classes"] == list(CLASSES)
    assert summary["counts"] == {"source": 22, "source_validation": 2, "target": 18, "unreadable": 0}
    assert trained.views.is_file()
    assert "<html" in trained.report.read_text()


def test_the_saved_network_has_the_backbones_weights(trained, photos):
    backbone = {
        name.removeprefix("backbone.network."): tensor
        for name, tensor in weights_of(trained.model).items()
        if name.startswith("backbone.")
    }
    expected = load_file(photos / "weights.safetensors")
    assert backbone.keys() == expected.keys()
    assert all(torch.equal(backbone[name], expected[name]) for name in expected)


def test_the_saved_configuration_repeats_the_run_on_features_bit_for_bit(trained, tmp_path):
    assert run(["train", "--config", str(trained.config), "--out", str(tmp_path / "again")]) == 0
    again = RunFolder.existing(tmp_path / "again")
    assert_same_weights(trained.model, again.model)
    assert_same_weights(trained.source_only.model, again.source_only.model)


def test_a_run_on_features_that_was_cut_off_goes_on_to_the_same_weights(trained, tmp_path):
    cut = RunFolder(shutil.copytree(trained.root, tmp_path / "cut"))
    for folder in (cut, cut.source_only):
        (folder.checkpoints / "step-000000004.pt").unlink()
        shutil.rmtree(folder.model)
    assert run(["train", "--resume", str(cut.root)]) == 0
    assert_same_weights(trained.model, cut.model)
    assert_same_weights(trained.source_only.model, cut.source_only.model)
    assert [json.loads(line)["step"] for line in cut.metrics.read_text().splitlines()] == [2, 4]


def faster_in_bfloat16(monkeypatch, gain):
    """As on a processor whose bfloat16 is so many times as fast."""
    monkeypatch.setattr(setup, "gain_of_rounding", lambda *_: gain)


@pytest.mark.parametrize(("gain", "precision"), [(2.0, "bfloat16"), (1.0, "float32")])
def test_a_run_notes_the_precision_of_its_features_and_keeps_it(gain, precision, photos, tmp_path, monkeypatch, capsys):
    faster_in_bfloat16(monkeypatch, gain)
    found = train(photos, tmp_path / "run", "--feature_precision", "auto")
    said = "features are computed in bfloat16, 2.0 times as fast" in capsys.readouterr().out
    assert said == (precision == "bfloat16")
    assert read_config(found.config).feature_precision == precision
    assert json.loads(found.summary.read_text())["settings"]["feature_precision"] == precision
    cut = RunFolder(shutil.copytree(found.root, tmp_path / "cut"))
    for folder in (cut, cut.source_only):
        (folder.checkpoints / "step-000000004.pt").unlink()
        shutil.rmtree(folder.model)
    # as on a machine that has none of them; which way is fastest stays noted, because ways differ in their last bits
    store = FeatureStore(features_folder())
    store.remove([entry.key for entry in store.entries()])
    assert not store.entries()
    faster_in_bfloat16(monkeypatch, 3.0 - gain)
    assert run(["train", "--resume", str(cut.root)]) == 0
    assert read_config(cut.config).feature_precision == precision
    assert_same_weights(found.model, cut.model)


def test_a_run_from_before_there_was_a_choice_goes_on_in_float32(photos, tmp_path, monkeypatch):
    found = train(photos, tmp_path / "run", "--feature_precision", "float32")
    lines = found.config.read_text().splitlines()
    found.config.write_text("\n".join(line for line in lines if not line.startswith("feature_precision")) + "\n")
    summary = json.loads(found.summary.read_text())
    del summary["settings"]["feature_precision"]
    found.summary.write_text(json.dumps(summary))
    before = weights_of(found.model)
    for folder in (found, found.source_only):
        (folder.checkpoints / "step-000000004.pt").unlink()
        shutil.rmtree(folder.model)
    faster_in_bfloat16(monkeypatch, 2.0)
    assert run(["train", "--resume", str(found.root)]) == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights_of(found.model).items())


def test_a_run_on_features_in_bfloat16_predicts_in_float32(photos, tmp_path):
    rounded = train(photos, tmp_path / "rounded", "--feature_precision", "bfloat16")
    tensors = weights_of(rounded.model)
    assert all(tensor.dtype != torch.bfloat16 for tensor in tensors.values())
    expected = load_file(photos / "weights.safetensors")
    assert all(torch.equal(tensors[f"backbone.network.{name}"], tensor) for name, tensor in expected.items())
    rows = predictions_of(rounded, photos, tmp_path / "rows.csv")
    in_run = load_file(rounded.predictions)["target/adapted"].max(dim=1).values
    confidences = torch.tensor([float(row["confidence"]) for row in rows])
    torch.testing.assert_close(confidences, in_run, atol=0.05, rtol=0)


def test_bfloat16_without_stored_features_is_refused(photos, tmp_path, capsys):
    assert run(arguments_of(photos, tmp_path / "run", "--features", "0", "--feature_precision", "bfloat16")) == 2
    complaint = capsys.readouterr().err
    assert "--feature_precision bfloat16: only stored features (--features 4) are computed in it" in complaint
    assert "--precision bfloat16" in complaint


@pytest.mark.parametrize("views", [0, 2])
def test_the_saved_network_predicts_of_images_what_its_head_predicted_of_features(views, photos, tmp_path):
    found = train(photos, tmp_path / "run", "--model.averaged_views", str(views), "--steps", "8")
    summary = json.loads(found.summary.read_text())["models"]
    for name, model in summary.items():
        rows = predictions_of(found, photos, tmp_path / "p.csv", "--model", name)
        assert [sum(row["class"] == each for row in rows) for each in CLASSES] == model["target_histogram"]
        confidence = np.mean([float(row["confidence"]) for row in rows])
        assert confidence == pytest.approx(model["target_confidence"], abs=2e-3)


def test_all_models_of_a_run_have_the_features_of_the_pretrained_backbone(photos, tmp_path):
    found = train(photos, tmp_path / "run", "--model.domain_statistics", "0")
    given = {}
    for name in found.models():
        out = tmp_path / f"{name}.npz"
        asked = ["features", str(found.root), "--model", name, "--device", "cpu", "--out", str(out)]
        assert run([*asked, "--images", f"{photos}/there"]) == 0
        with np.load(out) as arrays:
            given[name] = arrays["features"]
    preprocessing = load_description(found.model).preprocessing
    backbone = PretrainedBackbone(BACKBONE, size=preprocessing.input_size).eval()
    load_weights(backbone, photos / "weights.safetensors")
    rows = torch.from_numpy(np.stack([read_pixels(each, preprocessing) for each in sorted(photos.glob("there/*/*"))]))
    with torch.no_grad():
        expected = backbone(preprocessing.normalize(rows)).numpy()
    for name, features in given.items():
        assert np.array_equal(features, given["adapted"]), name
        np.testing.assert_allclose(features, expected, atol=1e-4, rtol=1e-4)


def test_eval_of_class_folders_agrees_with_the_predictions(trained, photos, tmp_path, capsys):
    assert run(["eval", str(trained.root), "--data", f"{photos}/there"]) == 0
    assert "18 images" in capsys.readouterr().out
    (evaluation,) = trained.evaluations.glob("there-*.json")
    rows = predictions_of(trained, photos, tmp_path / "p.csv")
    correct = sum(f"/{row['class']}/" in row["path"] for row in rows)
    assert json.loads(evaluation.read_text())["models"]["adapted"]["accuracy"] == correct / len(rows)
    evaluation.unlink()


def test_each_domain_is_standardised_by_itself(trained):
    config = read_config(trained.config)
    preprocessing = image_network.make_preprocessing(config)
    domains = open_domains(recipe.make_data_request(config), preprocessing)
    inputs = image_network.image_inputs(config, preprocessing)
    network, cpu = image_network.make_student(config, inputs.architecture, 3), torch.device("cpu")
    space = FeatureSpace.of(network, preprocessing, features_folder(), cpu, Averaged(config.model.averaged_views))
    of_source = space.random(domains.whole.images, inputs.views.source, 4, "here")[domains.whole.training_rows]
    of_target = space.random(domains.target.images, inputs.views.student, 4, "there")
    plain = space.plain(domains.target.images, "there")
    assert not torch.allclose(plain.float().mean(dim=(0, 1)), of_target.float().mean(dim=(0, 1)))
    models = ((trained.adapted, plain), (trained.aligned, plain), (trained.source_only, of_source))
    for folder, features in ((each.model, features) for each, features in models):
        expected, saved = standardization(features, cpu), weights_of(folder)
        torch.testing.assert_close(saved["feature_mean"], expected.mean)
        torch.testing.assert_close(saved["feature_std"], expected.std)


def test_kept_weights_and_recomputed_statistics_reach_the_saved_network(photos, tmp_path):
    more = ["--select", "most-confident", "--statistics", "recomputed", "--every.evaluate", "2"]
    found = train(photos, tmp_path / "run", *more, "--baseline", "false")
    summary = json.loads(found.summary.read_text())
    assert summary["kept_step"] in (2, 4)
    rows = predictions_of(found, photos, tmp_path / "p.csv")
    confidence = np.mean([float(row["confidence"]) for row in rows])
    assert confidence == pytest.approx(summary["models"]["adapted"]["target_confidence"], abs=2e-3)


def test_a_transformer_is_trained_on_features_and_keeps_its_size(photos, tmp_path, capsys):
    more = ["--backbone", "test_vit", "--baseline", "false", "--steps", "2"]
    write_weights(tmp_path / "vit32.safetensors", "test_vit", size=32)
    found = train(photos, tmp_path / "run", *more, "--weights", str(tmp_path / "vit32.safetensors"))
    rows = predictions_of(found, photos, tmp_path / "p.csv")
    confidence = np.mean([float(row["confidence"]) for row in rows])
    expected = json.loads(found.summary.read_text())["models"]["adapted"]["target_confidence"]
    assert confidence == pytest.approx(expected, abs=2e-3)
    where = ["--source", f"{photos}/here", "--target", f"{photos}/there", "--out", str(tmp_path / "larger")]
    more = ["--preset", "photo", "--backbone", "test_vit", "--init", str(found.root), "--data.size", "48"]
    assert run(["train", *where, *more]) == 2
    assert "network of another shape" in capsys.readouterr().err
    assert not (tmp_path / "larger").exists()


# what is kept


def extracted(out):
    return [line.split(":")[0] for line in out.splitlines() if line.startswith("features of ")]


def test_images_and_features_are_found_again(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    here, there = f"features of {photos}/here", f"features of {photos}/there"
    more = ["--baseline", "false", "--steps", "2"]

    def printed(name, *settings, **others):
        capsys.readouterr()
        train(photos, tmp_path / name, *more, *settings, **others)
        return capsys.readouterr().out

    first = printed("first")
    assert extracted(first) == [here, f"{here}, validation, plain", there, f"{there}, plain"]
    assert f"reading {photos}/here: 24 in" in first
    second = printed("second")
    assert extracted(second) == []
    assert "reading" not in second
    assert extracted(printed("seed", "--seed", "1")) == [f"{here}, validation, plain"]
    assert len(extracted(printed("weights", weights="others"))) == 4
    assert extracted(printed("view", "--views.student", "photo-weak", "--views.teacher", "photo-weak")) == [there]
    assert extracted(printed("count", "--features", "3")) == [here, there]
    assert extracted(printed("plain", "--model.averaged_views", "3")) == [
        f"{here}, validation, plain",
        f"{there}, plain",
    ]


def test_eval_finds_the_features_that_training_predicted_of(photos, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    found = train(photos, tmp_path / "run", "--baseline", "false", "--steps", "2")
    capsys.readouterr()
    assert run(["eval", str(found.root), "--data", f"{photos}/there"]) == 0
    assert extracted(capsys.readouterr().out) == []


def test_what_is_kept_is_listed_and_removed(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    assert run(["cache", "ls"]) == 0
    assert "0 bytes in 0 entries" in capsys.readouterr().out
    train(photos, tmp_path / "run", "--baseline", "false", "--steps", "2")
    capsys.readouterr()
    assert run(["cache", "ls"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 2 + 4
    assert any(line.endswith(f"images of {photos}/here") for line in lines)
    key = lines[-1].split()[0]
    assert run(["cache", "rm", key]) == 0
    assert "removed" in capsys.readouterr().out
    assert run(["cache", "rm", key]) == 2
    assert f"{key}: not in the cache" in capsys.readouterr().err
    assert run(["cache", "rm"]) == 2
    assert "nothing to remove" in capsys.readouterr().err
    assert run(["cache", "rm", "all"]) == 0
    assert run(["cache", "ls"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("0 bytes in 0 entries")


@pytest.mark.parametrize("features", ["4", "0"])
def test_where_decoded_images_are_changes_no_weight(features, photos, tmp_path):
    more = ["--features", features, "--model.standardize", "true" if features == "4" else "false"]
    runs = [
        train(photos, tmp_path / f"{policy}", "--cache", policy, "--steps", "2", *more)
        for policy in ("disk", "ram", "off")
    ]
    for other in runs[1:]:
        assert_same_weights(runs[0].model, other.model)
        assert_same_weights(runs[0].source_only.model, other.source_only.model)


def test_batches_are_made_ahead_only_where_images_are_not_in_memory(photos, tmp_path, monkeypatch):
    ahead = []
    monkeypatch.setattr(training, "Prefetched", lambda stream, **more: ahead.append(more) or Prefetched(stream, **more))
    image_mode = ["--preset", "photo", "--baseline", "false", "--steps", "2"]
    train(photos, tmp_path / "disk", *image_mode)
    train(photos, tmp_path / "features", "--cache", "off", "--baseline", "false", "--steps", "2")
    assert ahead == []
    train(photos, tmp_path / "off", "--cache", "off", *image_mode)
    assert ahead == [{"end": 2}]


def test_predict_and_eval_are_the_same_wherever_decoded_images_are(trained, photos, tmp_path):
    rows = [
        predictions_of(trained, photos, tmp_path / f"{policy}.csv", "--cache", policy)
        for policy in ("off", "ram", "disk")
    ]
    assert rows[0] == rows[1] == rows[2]
    results = []
    for policy in ("off", "ram", "disk"):
        assert run(["eval", str(trained.root), "--data", f"{photos}/there", "--cache", policy]) == 0
        (path,) = trained.evaluations.glob("there-*.json")
        results.append(json.loads(path.read_text())["models"])
        path.unlink()
    assert results[0] == results[1] == results[2]


# images that cannot be read


@pytest.fixture
def damaged(photos, tmp_path):
    """A copy of there/ with a file without an image, and one that only decoding finds to be cut off."""
    folder = tmp_path / "damaged" / "there"
    shutil.copytree(photos / "there", folder)
    whole = (folder / "red" / "5.jpg").read_bytes()
    (folder / "red" / "5.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "red" / "9.jpg").write_bytes(b"no image")
    return folder.parent


@pytest.mark.parametrize("preset", ["photo-features", "photo"])
@pytest.mark.parametrize("policy", ["disk", "off"])
def test_unreadable_images_are_told_and_listed_once(policy, preset, photos, damaged, tmp_path, capsys):
    for name in ("here", "weights.safetensors"):
        (damaged / name).symlink_to(photos / name)
    found = train(damaged, tmp_path / "run", "--preset", preset, "--cache", policy, "--steps", "2")
    listed = json.loads(found.unreadable.read_text())
    assert sorted(each["path"][-9:] for each in listed) == ["red/5.jpg", "red/9.jpg"]
    assert json.loads(found.summary.read_text())["counts"]["unreadable"] == 2
    out = capsys.readouterr().out
    assert out.count("red/5.jpg") == out.count("red/9.jpg") == 1


@pytest.mark.parametrize("policy", ["ram", "disk", "off"])
def test_nothing_is_predicted_of_an_image_that_cannot_be_read(policy, trained, damaged, tmp_path, capsys):
    rows = predictions_of(trained, damaged, tmp_path / "p.csv", "--cache", policy)
    assert len(rows) == 17
    assert not [row for row in rows if row["path"].endswith("red/5.jpg")]
    assert "skipped 2 images that cannot be read" in capsys.readouterr().out
    assert run(["eval", str(trained.root), "--data", f"{damaged}/there", "--cache", policy]) == 0
    assert "of 17 images of" in capsys.readouterr().out
    for path in trained.evaluations.glob("there-*.json"):
        assert json.loads(path.read_text())["count"] == 17
        path.unlink()
    strict = ["predict", str(trained.root), "--images", f"{damaged}/there", "--out", str(tmp_path / "q.csv")]
    assert run([*strict, "--cache", policy, "--strict"]) == 2
    assert not (tmp_path / "q.csv").exists()


# images


@pytest.mark.parametrize(
    ("preset", "more"),
    [
        ("photo", []),
        ("photo", ["--model.frozen_stages", "1", "--model.checkpointing", "true", "--accumulate", "2"]),
        ("photo-tllib", ["--data.size", "36", "--data.crop", "32"]),
        ("photo-paper", ["--data.size", "36", "--data.crop", "32", "--model.averaged_views", "2"]),
    ],
)
def test_presets_for_photographs_train_the_whole_network(preset, more, photos, tmp_path):
    found = train(photos, tmp_path / "run", "--preset", preset, "--steps", "2", "--optimizer.lr", "1e-3", *more)
    saved, before = weights_of(found.model), load_file(photos / "weights.safetensors")
    moved = {name for name, tensor in before.items() if not torch.equal(saved[f"backbone.network.{name}"], tensor)}
    assert "layer4.0.conv1.weight" in moved
    frozen = 2 if preset == "photo-paper" else 1 if "--model.frozen_stages" in more else 0
    assert ("conv1.0.weight" in moved or "conv1.weight" in moved) == (frozen == 0)
    assert len(predictions_of(found, photos, tmp_path / "p.csv")) == 18


def test_parts_of_a_batch_leave_the_number_of_steps(photos, tmp_path):
    found = train(photos, tmp_path / "run", "--accumulate", "2", "--baseline", "false")
    assert [json.loads(line)["step"] for line in found.metrics.read_text().splitlines()] == [2, 4]


def test_a_network_of_timm_may_start_from_random_weights_and_says_so(photos, tmp_path, capsys):
    where = ["--source", f"{photos}/here", "--target", f"{photos}/there", "--out", str(tmp_path / "run")]
    more = ["--preset", "photo", "--backbone", BACKBONE, "--steps", "2", "--baseline", "false"]
    assert run(["train", *where, *QUICK, *more]) == 0
    assert "warning: test_resnet starts from random weights" in capsys.readouterr().err
    assert json.loads((tmp_path / "run/model/config.json").read_text())["architecture"]["pretrained"] is False


# a run to start from


def test_a_run_of_features_is_gone_on_with_on_images(trained, photos, tmp_path, capsys):
    more = ["--preset", "photo", "--init", str(trained.root), "--steps", "1", "--optimizer.lr", "1e-12"]
    found = train(photos, tmp_path / "run", *more)
    assert f"note: --model.standardize is true, as in {trained.root}" in capsys.readouterr().out
    assert read_config(found.config).model.standardize is True
    for folder, start in ((found.model, trained.model), (found.source_only.model, trained.source_only.model)):
        saved, before = weights_of(folder), weights_of(start)
        assert saved.keys() == before.keys()
        for name in before:
            if "running" not in name and "num_batches" not in name:
                torch.testing.assert_close(saved[name], before[name], atol=1e-6, rtol=0)


def test_a_run_is_gone_on_with_on_features_of_its_backbone_which_need_not_be_named(trained, photos, tmp_path):
    where = ["--source", f"{photos}/here", "--target", f"{photos}/there", "--out", str(tmp_path / "run")]
    more = ["--init", str(trained.root), "--steps", "1", "--optimizer.lr", "1e-12"]
    assert run(["train", *where, *QUICK, *more]) == 0
    config = read_config(tmp_path / "run" / "config.yaml")
    assert (config.backbone, config.preset) == (BACKBONE, "photo-features")
    saved, before = weights_of(tmp_path / "run" / "model"), weights_of(trained.model)
    for name in before:
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(saved[name], before[name], atol=1e-6, rtol=0)


def test_what_a_run_lacks_starts_from_what_it_has(trained, photos, tmp_path):
    plain = train(photos, tmp_path / "plain", "--method", "source-only")
    assert list(plain.models()) == ["source-only"]
    more = ["--init", str(plain.root), "--steps", "1", "--optimizer.lr", "1e-12", "--baseline", "false"]
    found = train(photos, tmp_path / "run", *more)
    torch.testing.assert_close(
        weights_of(found.model)["head.weight"], weights_of(plain.model)["head.weight"], atol=1e-6, rtol=0
    )


# where images come from


def test_several_sources_are_one(photos, tmp_path):
    rng = np.random.default_rng(1)
    write_domain(tmp_path / "more", dict.fromkeys(CLASSES, 2), 10, rng)
    shutil.rmtree(tmp_path / "more" / "red")
    found = train(photos, tmp_path / "run", "--source", str(tmp_path / "more"), "--baseline", "false")
    config, summary = read_config(found.config), json.loads(found.summary.read_text())
    assert config.source == [f"{photos}/here", str(tmp_path / "more")]
    assert summary["classes"] == list(CLASSES)
    assert summary["counts"]["source"] + summary["counts"]["source_validation"] == 28
    assert run(["train", "--config", str(found.config), "--out", str(tmp_path / "again")]) == 0
    assert_same_weights(found.model, tmp_path / "again" / "model")


def test_lists_of_files_are_what_their_folders_are(trained, photos, tmp_path):
    found = train(photos, tmp_path / "run", source="here.csv", target="there.csv")
    assert_same_weights(trained.model, found.model)
    rows = predictions_of(found, photos, tmp_path / "a.csv")
    assert run(["predict", str(found.root), "--images", f"{photos}/there.csv", "--out", str(tmp_path / "b.csv")]) == 0
    listed = list(csv.DictReader((tmp_path / "b.csv").read_text().splitlines()))
    assert [row["confidence"] for row in listed] == [row["confidence"] for row in rows]


def test_the_folders_of_a_target_teach_nothing(trained, photos, tmp_path):
    """Bit for bit the same weights when its folders have other names, in the same order."""
    for number, name in enumerate(CLASSES):
        shutil.copytree(photos / "there" / name, tmp_path / "there" / f"{number}")
    for name in ("here", "weights.safetensors"):
        (tmp_path / name).symlink_to(photos / name)
    assert_same_weights(trained.model, train(tmp_path, tmp_path / "run").model)


# mistakes

WRONG = [
    (["--backbone", "test_resnt"], "did you mean test_resnet"),
    (["--weights", "{root}/none.safetensors"], "none.safetensors"),
    (["--weights", "{root}/vit.safetensors"], "another network"),
    (["--weights", "{root}/here.csv"], "here.csv"),
    (["--features", "1"], "at least 2 views"),
    (["--features", "-1"], "at least 2 views"),
    (["--backbone", "small", "--features", "4"], "small network"),
    (["--features", "4", "--views.teacher", "photo-weak"], "photo and photo-weak"),
    (["--views.shared_crop", "true"], "shared crop"),
    (
        ["--preset", "photo", "--views.student", "warp", "--data.size", "36", "--data.crop", "32"],
        "--data.size 32 --data.crop 32",
    ),
    (["--features", "0"], "--model.standardize"),
    (["--preset", "photo", "--model.standardize", "true"], "--model.standardize"),
    (["--weights", "null"], "test_resnet: no pretrained weights, and stored features (--features 4)"),
    (["--accumulate", "0"], "--accumulate 0"),
    (["--accumulate", "5"], "parts of 1"),
    (["--model.frozen_stages", "99", "--preset", "photo"], "stages"),
    (["--data.crop", "64"], "crop"),
    (["--init", "{root}/none"], "no such folder"),
    (["--init", "{run}", "--model.bottleneck_dim", "7"], "--model.bottleneck_dim 256"),
    (["--init", "{run}", "--backbone", "test_vit", "--weights", "{root}/vit.safetensors"], "--backbone test_resnet"),
    (["--init", "{run}", "--out", "{run}", "--overwrite"], "the run to start from"),
    (["--cache", "tape"], "--cache"),
    (["--preset", "photos"], "photo-features"),
    (["--source"], "source"),
    (["--source", "--seed", "1"], "source"),
]


@pytest.mark.parametrize(("more", "expected"), WRONG)
def test_a_mistake_is_one_line_before_anything_is_read_or_written(
    more, expected, photos, trained, tmp_path, capsys, monkeypatch
):
    def never(*_, **__):
        raise AssertionError("data were read")

    monkeypatch.setattr(setup, "open_domains", never)
    more = [each.format(root=photos, run=trained.root) for each in more]
    assert run(arguments_of(photos, tmp_path / "run", *more)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("dalib: error: ")
    assert captured.err.count("\n") == 1
    assert expected in captured.err
    assert list(tmp_path.iterdir()) == []


def test_other_classes_than_those_of_the_run_to_start_from_are_refused(trained, photos, tmp_path, capsys):
    shutil.copytree(photos / "here", tmp_path / "here")
    shutil.rmtree(tmp_path / "here" / "red")
    for name in ("there", "weights.safetensors"):
        (tmp_path / name).symlink_to(photos / name)
    assert run(arguments_of(tmp_path, tmp_path / "run", "--init", str(trained.root))) == 2
    assert "its classes are blue, green, red" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_source_without_a_value_is_left_to_the_parser():
    arguments = ["train", "--source", "a", "--source", "--target", "b"]
    assert with_repeated_united(arguments) == arguments
