"""A kit stands in for the source: written from a run, refused when it is damaged, and enough to adapt and to judge."""

import html
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save, save_file

import dalib
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.records.folder import RunFolder
from dalib.records.kit import digest_of, read_header
from dalib.run.settings.config import TrainConfig
from dalib.run.start.kit import MISSING, REPRESENTING, ClassStatistics, open_kit
from dalib.run.train import train as train_run
from noisy_photos import COLOURS, write_domain, write_weights

STUDIO = dict(zip(COLOURS, (16, 16, 6, 14), strict=True))
LEARNING = ["--model.bottleneck_dim", "8", "--self_ensemble.threshold", "0"]
QUICK = ["--batch", "8", "--every.log", "2", "--every.evaluate", "4", "--every.checkpoint", "2", "--steps", "4"]


def write_studio(root, shade=0):
    write_domain(root / "studio", STUDIO, shade, np.random.default_rng(0), "png")


def text_of(page):
    """A page as a person reads it."""
    return html.unescape(re.sub("<[^>]+>", "", page.read_text()))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """studio/ with one class of too few images, street/, a run of both, and its kit; studio/ is gone afterwards."""
    root = tmp_path_factory.mktemp("kit")
    write_weights(root / "weights.safetensors", "test_resnet")
    return place_of(
        root, ["--backbone", "test_resnet", "--weights", f"{root}/weights.safetensors", "--data.size", "32"]
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The same of a network that is trained as a whole."""
    return place_of(tmp_path_factory.mktemp("whole"), ["--backbone", "digits", "--data.size", "16", *LEARNING])


def place_of(root, network):
    write_studio(root)
    write_domain(root / "street", dict.fromkeys(COLOURS, 6), 40, np.random.default_rng(0), "png")
    domains = ["--source", f"{root}/studio", "--target", f"{root}/street"]
    assert run(["train", *domains, *network, *QUICK, "--out", f"{root}/run"]) == 0
    assert run(["export", f"{root}/run", "--format", "kit", "--out", f"{root}/studio.dalib"]) == 0
    shutil.rmtree(root / "studio")
    return root


def train(place, out, *more):
    return run(["train", "--kit", f"{place}/studio.dalib", "--target", f"{place}/street", "--out", str(out), *more])


@pytest.fixture(scope="module")
def adapted(place, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert train(place, out, *QUICK) == 0
    return RunFolder.existing(out)


@pytest.fixture(scope="module")
def adapted_whole(whole, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    assert train(whole, out, *QUICK) == 0
    return RunFolder.existing(out)


def changed_kit(place, path, change):
    """Writes a kit with changed content and the digest of that."""
    tensors, text = load_file(place / "studio.dalib"), read_header(place / "studio.dalib").text()
    about = json.loads(text.partition("\n")[2])
    change(tensors, about)
    text = "\n" + json.dumps(about)
    save_file(tensors, path, metadata={"kit": digest_of(save(tensors, {"kit": text})) + text})
    return path


# the file


def test_a_kit_holds_statistics_and_no_row_of_an_image(place):
    kit = open_kit(str(place / "studio.dalib"))
    assert kit.description.classes == tuple(COLOURS)
    assert kit.header.left_out == ("rare",)
    assert kit.header.counts[2] == 0
    assert kit.statistics.classes.tolist() == [0, 1, 3]
    assert len(kit.statistics.mean) == 3
    assert 2 not in kit.labels.tolist()
    names = {name.split("/")[0] for name in load_file(place / "studio.dalib")}
    assert names == {"model", "statistics", "validation"}
    assert str(place).encode() not in (place / "studio.dalib").read_bytes()


def test_the_export_says_what_a_kit_holds_and_needs_no_target(place, tmp_path, capsys):
    write_studio(place)
    (place / "street").rename(place / "gone")
    try:
        assert run(["export", f"{place}/run", "--format", "kit", "--out", f"{tmp_path}/again.dalib"]) == 0
        said = capsys.readouterr().out
        assert "no image and no feature of a single image" in said
        assert "rare" in said
        assert (tmp_path / "again.dalib").read_bytes() == (place / "studio.dalib").read_bytes()
        write_studio(place, 5)
        assert run(["export", f"{place}/run", "--format", "kit", "--out", f"{tmp_path}/other.dalib"]) == 2
        assert "not those that" in capsys.readouterr().err
    finally:
        shutil.rmtree(place / "studio")
        (place / "gone").rename(place / "street")


@pytest.mark.parametrize("setting", ["hints", "prior"])
def test_the_export_needs_no_file_that_the_adaptation_alone_took(place, setting, tmp_path):
    own = tmp_path / "run"
    shutil.copytree(place / "run", own)
    config = yaml.safe_load((own / "config.yaml").read_text())
    (own / "config.yaml").write_text(yaml.safe_dump({**config, setting: str(tmp_path / "gone.csv")}))
    write_studio(place)
    try:
        assert run(["export", str(own), "--format", "kit", "--out", f"{tmp_path}/again.dalib"]) == 0
    finally:
        shutil.rmtree(place / "studio")
    assert (tmp_path / "again.dalib").read_bytes() == (place / "studio.dalib").read_bytes()


def test_statistics_are_of_the_features_and_drawn_features_have_them():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(2).repeat_interleave(500)
    mixing = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.5, 1.0], [0.0, 0.0, 0.3]])
    centres = torch.tensor([[0.0, 0.0, 0.0], [4.0, -2.0, 1.0]])
    features = centres[labels] + torch.randn(1000, 3, generator=generator) @ mixing
    statistics = ClassStatistics.of(features[:, None], labels, 3)
    assert statistics.classes.tolist() == [0, 1]
    torch.testing.assert_close(statistics.mean, torch.stack([features[labels == each].mean(0) for each in range(2)]))
    drawn = statistics.draw(torch.ones(20_000, dtype=torch.int64), 0).float()
    torch.testing.assert_close(drawn.mean(0), statistics.mean[1], atol=0.05, rtol=0)
    deviation = features - statistics.mean[labels]
    torch.testing.assert_close(drawn.T.cov(), deviation.T @ deviation / 1000, atol=0.15, rtol=0.05)
    assert torch.equal(drawn, statistics.draw(torch.ones(20_000, dtype=torch.int64), 0).float())


def test_damaged_and_changed_kits_are_refused(place, tmp_path):
    whole = (place / "studio.dalib").read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    for number, (content, told) in enumerate(
        [(whole[:-100], "truncated"), (bytes(flipped), "digest"), (whole[:20], "not a kit"), (b"", "not a kit")]
    ):
        file = tmp_path / f"{number}.dalib"
        file.write_bytes(content)
        with pytest.raises(UserError, match=told) as error:
            open_kit(str(file))
        assert str(file) in str(error.value)
    with pytest.raises(UserError, match="cannot be read"):
        open_kit(str(tmp_path / "absent.dalib"))
    with pytest.raises(UserError, match="cannot be read"):
        open_kit(str(tmp_path))


def test_a_kit_of_a_model_that_is_nan_is_refused(place, tmp_path):
    def damage(tensors, _):
        tensors["model/head.weight"][0] = torch.nan

    with pytest.raises(UserError, match=r"model/head\.weight: expected numbers, got NaN"):
        open_kit(str(changed_kit(place, tmp_path / "changed.dalib", damage)))


def test_a_kit_names_no_path_and_no_repository(place, tmp_path):
    def with_weights(tensors, about):
        about["settings"]["weights"] = "/etc/passwd"

    def of_hub(tensors, about):
        about["description"]["architecture"]["backbone"] = "hf_hub:somebody/something"

    def newer(tensors, about):
        about["format"] = 2

    def infinite(tensors, about):
        tensors["statistics/mean"][0, 0] = float("inf")

    def short(tensors, about):
        tensors["validation/labels"] = tensors["validation/labels"][:-1]

    def of_no_class(tensors, about):
        tensors["statistics/classes"][-1] = 7

    told = {
        with_weights: "setting weights",
        of_hub: "name of a network",
        newer: "update dalib",
        infinite: "finite",
        short: "rows of",
        of_no_class: "positions",
    }
    for change, words in told.items():
        with pytest.raises(UserError, match=words):
            open_kit(str(changed_kit(place, tmp_path / f"{change.__name__}.dalib", change)))


# a run from it


def test_a_run_from_a_kit_is_judged_and_reported(place, adapted):
    assert list(adapted.models()) == ["adapted", "aligned", "source-only"]
    summary = json.loads(adapted.summary.read_text())
    assert summary["status"] == "done"
    assert summary["contents"].keys() == {"kit"}
    assert summary["models"]["adapted"].get("source_validation_accuracy") is None
    judgement = adapted.read_judgement()
    assert MISSING in judgement.reasons
    assert judgement.distance is None
    assert summary["counts"]["source"] == sum(open_kit(str(place / "studio.dalib")).header.counts)
    assert MISSING in text_of(adapted.report)


def test_the_source_only_model_is_that_of_the_run_that_the_kit_is_of(place, adapted):
    first = load_file(RunFolder.existing(place / "run").source_only.model / "model.safetensors")
    second = load_file(adapted.source_only.model / "model.safetensors")
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    own, before = (load_file(each.predictions) for each in (adapted, RunFolder.existing(place / "run")))
    torch.testing.assert_close(own["target/source-only"], before["target/source-only"])
    torch.testing.assert_close(own["target/aligned"], before["target/aligned"])


def test_the_same_from_python_and_the_same_twice(place, adapted, tmp_path):
    quick = {"batch": 8, "steps": 4, "every": {"log": 2, "evaluate": 4, "checkpoint": 2}}
    again = dalib.adapt(kit=place / "studio.dalib", target=place / "street", out=str(tmp_path / "again"), **quick)
    first, second = (load_file(each / "model.safetensors") for each in (adapted.model, again.folder.model))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    with pytest.raises(UserError, match="leave out one"):
        dalib.adapt("studio", place / "street", kit=place / "studio.dalib")


def test_a_run_resumes_bit_for_bit_and_with_no_other_kit(place, adapted, tmp_path, capsys):
    copy = shutil.copytree(adapted.root, tmp_path / "copy")
    for path in (copy / "checkpoints").glob("*4*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert run(["train", "--resume", str(copy)]) == 0
    first, second = (load_file(each / "model.safetensors") for each in (adapted.model, copy / "model"))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    whole = (place / "studio.dalib").read_bytes()
    try:
        changed_kit(place, place / "other.dalib", lambda tensors, about: tensors["statistics/rest"].mul_(2))
        (place / "other.dalib").replace(place / "studio.dalib")
        capsys.readouterr()
        assert run(["train", "--resume", str(copy)]) == 2
        assert "--kit" in capsys.readouterr().err
    finally:
        (place / "studio.dalib").write_bytes(whole)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--source", "studio"], "leave out one of them"),
        (["--backbone", "test_vit"], "--backbone"),
        (["--data.size", "40"], "--data.size"),
        (["--features", "0"], "--features"),
        (["--preset", "photo"], "leave out --preset"),
        (["--method", "source-only"], "nothing to train"),
        (["--init", "runs/first"], "--init"),
        (["--baseline", "false"], "--baseline: it has no effect with --kit"),
        (["--data.validation_share", "0"], "for the validation images are those of the kit"),
    ],
)
def test_settings_that_do_not_go_with_a_kit_are_refused(place, tmp_path, capsys, more, told):
    assert train(place, tmp_path / "run", *more) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


# of a network that is trained as a whole


def test_a_kit_of_a_whole_network_has_statistics_of_what_its_head_sees(whole):
    kit = open_kit(str(whole / "studio.dalib"))
    assert not kit.of_frozen
    assert kit.statistics.mean.shape == (3, 8)
    assert kit.header.left_out == ("rare",)
    assert kit.header.settings["self_ensemble.information"] > 0
    assert kit.header.settings["data.channels"] == 3  # which the run took from its images
    assert kit.header.settings["self_ensemble.prototypes"] > 0
    assert {name.split("/")[0] for name in load_file(whole / "studio.dalib")} == {
        "model",
        "neutral",
        "statistics",
        "validation",
    }


def test_the_judgement_gets_drawn_features_of_the_network_that_it_asks(whole):
    kit = open_kit(str(whole / "studio.dalib"))
    features, labels = kit.representing(0)
    assert kit.neutral is not None
    assert len(features) == len(labels) >= REPRESENTING
    assert features.shape[1] == kit.neutral.mean.shape[1]
    shares = torch.bincount(labels, minlength=4) / len(labels)
    counts = torch.tensor(kit.header.counts)
    torch.testing.assert_close(shares, counts / counts.sum(), atol=0.01, rtol=0)
    without = replace(kit, neutral=None).representing(0)
    assert [len(each) for each in without] == [0, 0]


def test_a_run_from_a_whole_network_learns_and_starts_as_the_source_only_model(whole, adapted_whole):
    assert list(adapted_whole.models()) == ["adapted", "aligned", "source-only"]
    first = load_file(RunFolder.existing(whole / "run").source_only.model / "model.safetensors")
    second = load_file(adapted_whole.source_only.model / "model.safetensors")
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    adapted = load_file(adapted_whole.model / "model.safetensors")
    moved = {name.split(".")[0] for name in first if not torch.equal(first[name], adapted[name])}
    assert moved == {"backbone", "bottleneck", "head"}
    own, before = (load_file(each.predictions) for each in (adapted_whole, RunFolder.existing(whole / "run")))
    torch.testing.assert_close(own["target/source-only"], before["target/source-only"])
    torch.testing.assert_close(own["target/aligned"], before["target/aligned"])


def test_a_run_from_a_whole_network_is_judged_predicts_and_is_measured(whole, adapted_whole, tmp_path):
    judgement = adapted_whole.read_judgement()
    assert MISSING in judgement.reasons
    assert judgement.distance is None
    kit = open_kit(str(whole / "studio.dalib"))
    for name in ("source-only", "adapted"):
        known = load_file(adapted_whole.predictions)[f"validation/{name}"]
        torch.testing.assert_close(known, kit.validation)
    assert MISSING in text_of(adapted_whole.report)
    again = shutil.copytree(adapted_whole.root, tmp_path / "run")
    assert run(["predict", str(again), "--images", f"{whole}/street", "--out", f"{tmp_path}/a.csv"]) == 0
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 25
    assert run(["eval", str(again), "--data", f"{whole}/street"]) == 0


def test_a_run_from_a_whole_network_resumes_bit_for_bit(adapted_whole, tmp_path):
    copy = shutil.copytree(adapted_whole.root, tmp_path / "copy")
    (newest,) = (copy / "checkpoints").glob("*4*")
    newest.unlink()
    assert run(["train", "--resume", str(copy)]) == 0
    first, second = (load_file(each / "model.safetensors") for each in (adapted_whole.model, copy / "model"))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--source", "studio"], "leave out one of them"),
        (["--backbone", "paper-small"], "--backbone"),
        (["--features", "2"], "leave out --features"),
        (["--method", "mcc"], "--method self-ensemble"),
        (["--prior", "estimate"], "uniform, source"),
        (["--target_labels", "labels.csv"], "leave them out"),
        (["--preset", "photo"], "of no preset"),
    ],
)
def test_settings_that_do_not_go_with_a_whole_network_are_refused(whole, tmp_path, capsys, more, told):
    assert train(whole, tmp_path / "run", *more) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_a_configuration_with_a_kit_and_a_source_is_refused(place, tmp_path):
    config = TrainConfig(kit=str(place / "studio.dalib"), source="studio", target=str(place / "street"))
    with pytest.raises(UserError, match="leave out one of them"):
        train_run(replace(config, out=str(tmp_path / "run")))


def test_a_kit_predicts_nothing_by_itself(place, capsys):
    assert run(["predict", f"{place}/studio.dalib", "--images", f"{place}/street", "--out", "a.csv"]) == 2
    assert f"adapt from it: dalib train --kit {place}/studio.dalib" in capsys.readouterr().err


def test_a_run_without_source_only_makes_no_kit(place, tmp_path, capsys):
    alone = tmp_path / "alone"
    shutil.copytree(place / "run", alone)
    shutil.rmtree(alone / "source-only")
    assert run(["export", str(alone), "--format", "kit", "--out", str(tmp_path / "k.dalib")]) == 2
    assert "has no source-only model, which a kit holds; train one with a baseline" in capsys.readouterr().err


def test_a_kit_without_a_target_is_refused(place, capsys):
    assert run(["train", "--kit", f"{place}/studio.dalib"]) == 2
    assert "--target" in capsys.readouterr().err


def test_no_kit_is_made_of_a_run_from_a_kit(adapted, tmp_path, capsys):
    assert run(["export", str(adapted.root), "--format", "kit", "--out", f"{tmp_path}/a.dalib"]) == 2
    assert "no images of the source" in capsys.readouterr().err
