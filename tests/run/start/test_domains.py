"""`dalib train --target_labels`: a few labels of the target's own images."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dalib.commands.arguments import with_underscores
from dalib.commands.config_file import read_config
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.data.preprocessing import Preprocessing
from dalib.data.rows import Concatenated
from dalib.models.pretrained import PretrainedBackbone
from dalib.run.recipe import recipe
from dalib.run.settings.config import DataConfig, TrainConfig
from dalib.run.start.domains import open_domains, repetitions, split

QUICK = ["--steps", "4", "--batch", "4", "--data.size", "16", "--every.checkpoint", "2", "--every.log", "2"]
SHADES = {"dark": 60, "light": 190}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """source/{dark,light}, target/ with 12 images of either, and few.csv with labels of four of them."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, shade in SHADES.items():
        for number in range(12):
            for path in (root / f"source/{name}/{number}.png", root / f"target/{name[0]}{number:02d}.png"):
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.clip(rng.normal(shade, 30, (20, 24, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(path)
    lines = [f"{root}/target/d00.png,dark", "d01.png,dark", "l00.png,light", "l01.png,light", "l02.png,"]
    (root / "few.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    return root


def train(folders, out, *more):
    where = ["--source", f"{folders}/source", "--target", f"{folders}/target", "--out", str(out)]
    return run(["train", *where, *QUICK, *more])


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def domains_of(folders, **settings):
    config = TrainConfig(
        source=f"{folders}/source",
        target=f"{folders}/target",
        target_labels=f"{folders}/few.csv",
        cache="ram",
        data=DataConfig(size=16, validation_share=0.25),
        **settings,
    )
    return open_domains(recipe.make_data_request(config), Preprocessing(size=16, channels=3))


def test_the_adaptation_sees_them_and_the_source_only_model_does_not(folders, tmp_path, capsys):
    assert train(folders, tmp_path / "without", "--keep", "adapted") == 0
    assert "whose labels, if any, are not used" in capsys.readouterr().out
    assert train(folders, tmp_path / "with", "--keep", "adapted", "--target-labels", f"{folders}/few.csv") == 0
    printed = capsys.readouterr().out
    assert "24 images, 4 of them with a label to learn from" in printed
    assert "note: --target_labels: 4, fewer than 50, so the adapted model learns from all of them" in printed
    without, given = tmp_path / "without", tmp_path / "with"
    assert same(weights(without / "source-only"), weights(given / "source-only"))
    assert not same(weights(without), weights(given))
    counts = json.loads((given / "summary.json").read_text())["counts"]
    assert counts["target_labelled"] == 4
    assert counts["target"] == 24, "the target stays whole"
    assert "target_labelled" not in json.loads((without / "summary.json").read_text())["counts"]
    assert read_config(given / "config.yaml").target_labels == f"{folders}/few.csv"


def test_they_join_the_source_and_not_its_validation(folders):
    domains = domains_of(folders, batch=8)
    times = repetitions(18, labelled=4, batch=8)
    joined = domains.train_adapted
    assert len(domains.train.labels) == 18
    assert len(domains.validation.labels) == 6
    assert len(joined.labels) == len(joined.images) == len(joined.names) == 18 + 4 * times
    assert torch.equal(joined.images[:18], domains.train.images)
    rows = domains.labels.rows
    assert [domains.target.names[row].rsplit("/", 1)[1] for row in rows.tolist()] == [
        "d00.png",
        "d01.png",
        "l00.png",
        "l01.png",
    ]
    for turn in range(times):
        part = slice(18 + 4 * turn, 22 + 4 * turn)
        assert torch.equal(joined.images[part], domains.target.images[rows])
        assert joined.labels[part].tolist() == [0, 0, 1, 1]
        assert joined.names[part] == tuple(domains.target.names[row] for row in rows.tolist())
    assert not set(domains.validation.names) & set(domains.target.names)


def test_without_labels_both_trainings_have_the_source_alone(folders):
    config = TrainConfig(source=f"{folders}/source", target=f"{folders}/target", cache="ram")
    domains = open_domains(recipe.make_data_request(config), Preprocessing(size=16, channels=3))
    assert domains.train_adapted is domains.train


def test_images_that_are_not_in_memory_are_joined_too(folders):
    config = TrainConfig(
        source=f"{folders}/source", target=f"{folders}/target", target_labels=f"{folders}/few.csv", cache="off", batch=8
    )
    domains = open_domains(recipe.make_data_request(config), Preprocessing(size=16, channels=3))
    joined = domains.train_adapted
    assert isinstance(joined.images, Concatenated)
    count = len(domains.train.labels)
    assert torch.equal(joined.images[torch.arange(count, count + 4)], domains.target.images[domains.labels.rows])


@pytest.mark.parametrize(
    ("source", "labelled", "batch"), [(12_000, 50, 64), (12_000, 4, 64), (100, 80, 64), (7, 1, 8), (10_000, 1, 256)]
)
def test_they_are_an_eighth_and_none_comes_more_than_once_a_batch(source, labelled, batch):
    times = repetitions(source, labelled, batch)
    share = times * labelled / (source + times * labelled)
    assert times >= 1
    assert batch * times / (source + times * labelled) <= 1.05 or times == 1
    assert share <= 0.13 or times == 1


def test_a_run_does_not_go_on_with_other_labels_unless_it_is_told_to(folders, tmp_path, capsys):
    labels = tmp_path / "labels.csv"

    def write(*lines):
        labels.write_text("".join(f"{line}\n" for line in ("path,label", *lines)))

    first, second = f"{folders}/target/d00.png,dark", f"{folders}/target/l00.png,light"
    write(first, second)
    assert train(folders, tmp_path / "run", "--target_labels", str(labels)) == 0
    for lines, expected in (
        ((first, second, f"{folders}/target/d01.png,dark"), "(2 images then, 3 now)"),
        ((first, second.replace("light", "dark")), "(still 2 images, not the same ones)"),
    ):
        write(*lines)
        capsys.readouterr()
        assert run(["train", "--resume", str(tmp_path / "run")]) == 2
        assert f"what --target_labels {labels} labels has changed {expected}" in capsys.readouterr().err
    assert run(["train", "--resume", str(tmp_path / "run"), "--allow_changes"]) == 0


def test_training_on_features_takes_them(folders, tmp_path):
    torch.manual_seed(0)
    network = PretrainedBackbone("test_resnet", size=None).network
    save_file({name: each.contiguous() for name, each in network.state_dict().items()}, tmp_path / "w.safetensors")
    settings = ["--backbone", "test_resnet", "--weights", f"{tmp_path}/w.safetensors", "--batch", "8"]
    settings += ["--data.size", "32", "--keep", "adapted"]
    for name, more in (("without", []), ("with", ["--target_labels", f"{folders}/few.csv"])):
        assert train(folders, tmp_path / name, *settings, *more) == 0
    without, given = tmp_path / "without", tmp_path / "with"
    assert same(weights(without / "source-only"), weights(given / "source-only"))
    assert not same(weights(without), weights(given))


# mistakes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("path,label\nd00.png,purple\n", "line 2: 'purple'"),
        ("path,label\nd00.png,dark\nnone.png,dark\n", "line 3: 'none.png' is none of the 24 images"),
        ("path,label\nd00.png,\n", "no label in it"),
    ],
)
def test_a_list_that_does_not_fit_is_told_before_anything_is_written(text, expected, folders, tmp_path, capsys):
    (tmp_path / "few.csv").write_text(text)
    assert train(folders, tmp_path / "run", "--target_labels", f"{tmp_path}/few.csv") == 2
    error = capsys.readouterr().err
    assert expected in error
    assert "--target_labels" in error
    assert not (tmp_path / "run").exists()


def test_a_source_only_run_takes_none(folders, tmp_path, capsys):
    more = ["--method", "source-only", "--target_labels", f"{folders}/few.csv"]
    assert train(folders, tmp_path / "run", *more) == 2
    assert "source-only" in capsys.readouterr().err


def test_options_may_have_dashes():
    assert with_underscores("--target-labels") == "--target_labels"
    assert with_underscores("--out=a-b") == "--out=a-b"
    assert with_underscores("a-b") == "a-b"


def test_a_class_keeps_an_image_to_train_on():
    labels = torch.cat([torch.zeros(90, dtype=torch.int64), torch.arange(1, 11)])
    for seed in range(10):
        training, validation = split(labels, 0.3, seed)
        assert labels[training].unique().tolist() == list(range(11))
        assert torch.equal(torch.cat([training, validation]).sort().values, torch.arange(100))
        assert torch.equal(training, training.sort().values)
        assert 15 < len(validation) <= 30


def test_a_split_that_loses_no_class_is_the_random_one():
    labels = torch.arange(40) % 2
    for seed in range(5):
        order = split(torch.zeros(40, dtype=torch.int64), 0.25, seed)
        assert all(torch.equal(one, other) for one, other in zip(split(labels, 0.25, seed), order, strict=True))


def test_single_images_of_every_class_cannot_be_kept():
    with pytest.raises(
        UserError, match=r"it would keep the only image of a class; expected data\.validation_share=0 to"
    ):
        split(torch.arange(10), 0.1, 0)
    assert len(split(torch.arange(10), 0.0, 0)[1]) == 0
