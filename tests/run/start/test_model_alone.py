"""A model alone stands in for the source: enough to adapt, and the judgement says what it lacks."""

import html
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import dalib
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.network import load_classifier, make_classifier
from dalib.models.saved import ModelDescription, save_model
from dalib.records.folder import RunFolder
from dalib.run.features.own_statistics import with_own_statistics
from dalib.run.start.kit import MISSING_OF_MODEL
from dalib.run.start.model_alone import files_of, open_in_place_of_source

CPU = torch.device("cpu")
CLASSES = ("blue", "green", "red")
QUICK = {"batch": 8, "steps": 4, "every": {"log": 2, "evaluate": 4, "checkpoint": 2}, "self_ensemble.threshold": 0.0}
ARCHITECTURE = {"bottleneck_dim": 8, "averaged_views": 0, "channels": 3, "bottleneck_norm": True, "dropout": 0.0}


def tinted(count, size):
    """Returns images (count, 3, size, size) uint8 of three colours in turn."""
    noise = 30 * torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    tint = torch.eye(3)[torch.arange(count) % 3] * 120 + 60
    return (tint[:, :, None, None] + noise).clamp(0, 255).to(torch.uint8)


def write_model(folder, **architecture):
    torch.manual_seed(0)
    whole = {**ARCHITECTURE, **architecture}
    described = Architecture.from_json(whole)
    network = make_classifier(described, len(CLASSES)).eval()
    scale = {"mean": (0.5,) * 3, "std": (0.25,) * 3} if "pretrained" in architecture else {}
    preprocessing = Preprocessing(size=whole["size"], channels=3, fit="crop", **scale)
    with torch.no_grad():  # no class for all images
        network.head.bias -= network(preprocessing.normalize(tinted(24, whole["size"]))).mean(dim=0)
    save_model(folder, network, ModelDescription(described, CLASSES, preprocessing))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """street/ of unlabelled images, and a model alone."""
    root = tmp_path_factory.mktemp("alone")
    (root / "street").mkdir()
    for number, image in enumerate(tinted(24, 16)):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(root / "street" / f"{number}.png")
    write_model(root / "model", backbone="digits", size=16, standardize=False)
    return root


@pytest.fixture(scope="module")
def adapted(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return dalib.adapt(kit=place / "model", target=place / "street", out=str(out), **QUICK).folder


def test_statistics_are_of_the_target_by_its_predicted_classes(place):
    kit = open_in_place_of_source(str(place / "model"), 0, CPU, with_own_statistics)
    assert not len(kit.statistics.classes)
    images = tinted(40, 16)
    own = kit.for_target(images)
    network, description = load_classifier(place / "model")
    predicted = network(description.preprocessing.normalize(images)).argmax(dim=1)
    assert own.header.counts == tuple(torch.bincount(predicted, minlength=3).tolist())
    assert own.statistics.mean.shape == (len(predicted.unique()), 8)
    drawn = own.training(1, 0)
    assert drawn.predicted
    assert drawn.images == 40
    assert len(own.labels) == 0


def test_a_run_from_a_model_alone_adapts_and_says_what_is_missing(place, adapted):
    assert list(adapted.models()) == ["adapted", "aligned", "source-only"]
    first, second = load_file(place / "model/model.safetensors"), load_file(adapted.model / "model.safetensors")
    moved = {name.split(".")[0] for name in first if not torch.equal(first[name], second[name])}
    assert moved == {"backbone", "bottleneck", "head"}
    same = load_file(adapted.source_only.model / "model.safetensors")
    assert [name for name in first if not torch.equal(first[name], same[name])] == []
    judgement = adapted.read_judgement()
    assert MISSING_OF_MODEL in judgement.reasons
    assert all(each.estimate is None or each.estimate.value is None for each in judgement.models.values())
    assert MISSING_OF_MODEL in html.unescape(adapted.report.read_text())


def test_a_run_from_a_model_alone_resumes_bit_for_bit_and_with_no_other_model(place, adapted, tmp_path, capsys):
    copy = shutil.copytree(adapted.root, tmp_path / "copy")
    (newest,) = (copy / "checkpoints").glob("*4*")
    newest.unlink()
    assert run(["train", "--resume", str(copy)]) == 0
    first, second = (load_file(each / "model.safetensors") for each in (adapted.model, copy / "model"))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    weights, kept = place / "model/model.safetensors", (place / "model/model.safetensors").read_bytes()
    try:
        save_file({name: each * 2 if each.is_floating_point() else each for name, each in first.items()}, weights)
        capsys.readouterr()
        assert run(["train", "--resume", str(copy)]) == 2
        assert "--kit" in capsys.readouterr().err
    finally:
        weights.write_bytes(kept)


def test_statistics_of_a_frozen_backbone_are_of_what_it_gives(tmp_path):
    network = {"pretrained": True, "frozen_stages": -1, "checkpointing": False, "features": True}
    write_model(tmp_path / "model", backbone="test_resnet", size=32, **network)
    images = tinted(12, 32)
    kit = open_in_place_of_source(str(tmp_path / "model"), 2, CPU, with_own_statistics)
    assert kit.of_frozen
    own = kit.for_target(images)
    whole, description = load_classifier(tmp_path / "model")
    features = whole.pool_layer(whole.backbone(description.preprocessing.normalize(images)))
    shares = torch.tensor(own.header.counts)[own.statistics.classes] / 12
    torch.testing.assert_close(shares @ own.statistics.mean, features.mean(dim=0), atol=1e-4, rtol=1e-4)


def test_a_model_that_predicts_one_class_is_refused(place):
    kit = open_in_place_of_source(str(place / "model"), 0, CPU, with_own_statistics)
    with pytest.raises(UserError, match="for all of 5 images"):
        kit.for_target(torch.zeros(5, 3, 16, 16, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--classes", "fewer"], "expected same"),
        (["--prior", "source"], "expected uniform"),
        (["--prior", "halfway"], "expected uniform"),
        (["--method", "mcc"], "--method self-ensemble"),
        (["--source", "studio"], "leave out one of them"),
    ],
)
def test_settings_that_need_the_source_are_refused(place, tmp_path, capsys, more, told):
    words = ["train", "--kit", f"{place}/model", "--target", f"{place}/street", "--out", f"{tmp_path}/run", *more]
    assert run(words) == 2
    assert told in capsys.readouterr().err


def test_init_without_a_source_names_the_kit(place, capsys):
    assert run(["train", "--init", f"{place}/model", "--target", f"{place}/street"]) == 2
    assert f"--kit {place}/model" in capsys.readouterr().err


def test_files_are_those_of_the_model_or_the_kit(place):
    assert [path.name for path in files_of(str(place / "model"))] == ["config.json", "model.safetensors"]
    assert [path.name for path in files_of("studio.dalib")] == ["studio.dalib"]


def test_a_run_names_its_own_model_in_place_of_itself(adapted, capsys):
    assert RunFolder.existing(adapted.root)
    assert run(["train", "--kit", str(adapted.root), "--target", "street"]) == 2
    assert f"{adapted.root}/model" in capsys.readouterr().err
