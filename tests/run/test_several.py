"""Several targets of one source: a run for each, one source-only training, one page; stopped and resumed."""

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

import dalib
from dalib.core.errors import UserError
from dalib.records.folder import RunFolder
from dalib.records.several import SeveralFolder, SeveralTargets
from dalib.run import setup
from dalib.run.settings.config import TrainConfig
from dalib.run.settings.config_file import read_plain_config
from dalib.run.several import run_config
from dalib.run.start.model_alone import open_in_place_of_source
from dalib.run.train import train

QUICK = {"steps": 4, "batch": 4, "data": {"size": 16}, "every": {"log": 2, "evaluate": 2, "checkpoint": 2}}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(8):
        for name, shade in (("dark", 60), ("light", 190)):
            for place, brighter in ((f"source/{name}", 0), (f"street/{name}", 15), (f"night/{name}", -30)):
                path = root / place / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.clip(rng.normal(shade + brighter, 30, (16, 16, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(path)
    return root


def arguments(images):
    return {"evaluate": {"night": images / "night"}, **QUICK}


@pytest.fixture(scope="module")
def stopped(images, tmp_path_factory):
    """The folder of two targets, stopped in the adaptation to the second; and the message."""
    out = tmp_path_factory.mktemp("runs") / "several"
    begun = []

    def stop_in_the_second(name, step, _evidence):
        begun.append((name, step))
        if begun.count((name, step)) == 2 and name == "adapted":
            raise KeyboardInterrupt

    targets = {"street": images / "street", "night": images / "night"}
    with pytest.raises(dalib.RunStoppedError) as error:
        dalib.adapt_each(images / "source", targets, out=out, on_evidence=stop_in_the_second, **arguments(images))
    return out, str(error.value), begun


@pytest.fixture(scope="module")
def resumed(stopped):
    out, _, _ = stopped
    before = {path.name: path.stat().st_mtime_ns for path in (out / "street").iterdir()}
    trained = []
    runs = dalib.adapt_each(resume=out, on_evidence=lambda *evaluation: trained.append(evaluation[:2]))
    return runs, before, trained


@pytest.fixture(scope="module")
def alone(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "alone"
    return dalib.adapt(
        images / "source", images / "night", out=out, **{**arguments(images), "evaluate": images / "night"}
    )


def test_a_stop_says_how_to_resume_all_targets(stopped):
    out, message, begun = stopped
    assert f"stopped at the target night; to resume: dalib.adapt_each(resume={str(out)!r})" in message
    assert [name for name, _ in begun].count("source-only") == 2  # two evaluations of one training
    record = SeveralTargets.read(out / "targets.json")
    assert [(each.name, each.status) for each in record.targets] == [("street", "done"), ("night", "waiting")]


def test_resuming_trains_no_finished_target_again(resumed):
    runs, before, trained = resumed
    assert {path.name: path.stat().st_mtime_ns for path in (runs.path / "street").iterdir()} == before
    assert {name for name, _ in trained} == {"adapted"}
    assert [each.status for each in runs.targets.targets] == ["done", "done"]


def test_a_run_of_several_is_to_the_bit_the_run_of_its_target_alone(resumed, alone):
    runs, _, _ = resumed
    for file in ("source-only/model/model.safetensors", "model/model.safetensors", "predictions.safetensors"):
        assert (runs["night"].path / file).read_bytes() == (alone.path / file).read_bytes(), file
    own, other = ((run.path / "config.yaml").read_text() for run in (runs["night"], alone))
    assert own.replace(str(runs["night"].path), "OUT") == other.replace(str(alone.path), "OUT")


def test_the_runs_are_a_mapping_and_open_again(resumed):
    runs, _, _ = resumed
    again = dalib.open_runs(runs.path)
    assert list(again) == list(runs) == ["street", "night"]
    assert again["night"].summary == runs["night"].summary
    assert again.report == runs.path / "report.html"
    assert f"street: {again['street'].verdict}; selected: " in repr(again)
    street, night = runs.targets.targets
    assert street.models["adapted"].measured is None
    assert night.models["adapted"].measured.count == 16


def test_the_folder_of_several_is_no_run_and_says_which_are(resumed, alone):
    runs, _, _ = resumed
    with pytest.raises(UserError, match=r"the folder of several targets.*give one: .*night, .*street"):
        dalib.open_run(runs.path)
    with pytest.raises(UserError, match=r"targets.json is missing"):
        dalib.open_runs(alone.path)


@pytest.mark.parametrize(
    ("targets", "out", "message"),
    [
        ({"a": "street", "b": "nothing"}, "new", "target=.*nothing.*no such folder"),
        ({"a": "street", "b": "street"}, "new", "it is there twice"),
        ({"a": ".", "b": "street"}, "new", "its images would be of both targets"),
        ({"a": "street", "b": "source"}, "new", "it is the source, too"),
        ({"a": "street", "b": "night"}, "night/new", "it lies in target=.*night"),
        ({"a": "street", "b": "night"}, "source", "there is something already|it lies in"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained_or_written(images, tmp_path, targets, out, message):
    folder = images / out if (images / out.split("/")[0]).exists() else tmp_path / out
    with pytest.raises(UserError, match=message):
        dalib.adapt_each(
            images / "source", {name: images / each for name, each in targets.items()}, out=folder, **QUICK
        )
    assert not (folder / "targets.json").exists()


@pytest.mark.parametrize(
    ("names", "evaluated", "message"),
    [
        ((1, 2), None, "^targets: expected names that are text, each of which is a run's folder, got 1$"),
        (
            ("a", "b"),
            ("labelled",),
            r"^evaluate: expected a dictionary .*, got tuple; such as evaluate=.'a'",
        ),
    ],
)
def test_several_targets_of_objects_are_refused_by_their_names(names, evaluated, message, tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    grey = np.zeros((4, 8, 8), np.uint8)
    with pytest.raises(UserError, match=message):
        dalib.adapt_each((grey, [0, 1, 0, 1]), dict.fromkeys(names, grey), evaluate=evaluated)
    assert not (tmp_path / "cache").exists()


def test_what_is_no_folder_of_several_is_never_replaced(images, tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    targets = {"street": images / "street"}
    with pytest.raises(UserError, match="there is something already"):
        dalib.adapt_each(images / "source", targets, out=tmp_path, overwrite=True, **QUICK)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_a_run_that_several_are_to_start_from_survives_their_overwriting_its_folder(images, resumed):
    folder = resumed[0].path
    targets = {"street": images / "street"}
    with pytest.raises(UserError, match=r"this run reads init=.*, which would be deleted with what is in"):
        dalib.adapt_each(images / "source", targets, out=folder, overwrite=True, init=folder / "night", **QUICK)
    assert (folder / "night" / "summary.json").is_file()


def test_a_folder_of_several_behind_a_link_is_replaced(images, tmp_path):
    place, link = tmp_path / "disk" / "several", tmp_path / "link"
    link.symlink_to(place)

    def begin(name):
        def stop(*_):
            raise KeyboardInterrupt

        with pytest.raises(dalib.RunStoppedError):
            dalib.adapt_each(
                images / "source", {name: images / name}, out=link, overwrite=True, on_evidence=stop, **QUICK
            )

    for name in ("street", "night"):
        begin(name)
    assert link.is_symlink()
    assert sorted(each.name for each in place.iterdir() if each.is_dir()) == ["night"]


def test_a_model_alone_may_stand_in_for_the_source_of_several_targets(images, resumed, tmp_path, monkeypatch):
    model = resumed[0]["street"].export(tmp_path / "model", format="torch")
    trained = []
    monkeypatch.setattr("dalib.run.several.train", lambda config, **options: trained.append(config))
    targets = {"street": images / "street", "night": images / "night"}
    runs = dalib.adapt_each(kit=model, targets=targets, out=tmp_path / "runs", steps=4, batch=4)
    assert [(each.kit, each.one_target) for each in trained] == [(str(model), str(each)) for each in targets.values()]
    assert [each.name for each in runs.targets.targets] == ["street", "night"]


def test_a_target_that_a_model_predicts_as_one_class_is_left_out(images, resumed, tmp_path, monkeypatch, capsys):
    model = resumed[0]["street"].export(tmp_path / "model", format="torch")
    weights = load_file(model / "model.safetensors")
    weights["head.bias"][0] += 1000
    save_file(weights, model / "model.safetensors")
    targets = {"street": images / "street", "night": images / "night"}
    opened = []
    monkeypatch.setattr(
        setup,
        "open_in_place_of_source",
        lambda place, *more: opened.append(place) or open_in_place_of_source(place, *more),
    )
    with pytest.raises(UserError, match=r"predicts dark for all of 16 images.*target night: target: the model.*go on"):
        dalib.adapt_each(kit=model, targets=targets, out=tmp_path / "runs", steps=4, batch=4)
    assert "target night is left out" in capsys.readouterr().err
    assert opened == [str(model)], "once for all targets"


def test_a_target_of_objects_is_announced_by_what_it_is(images, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    trained = []
    monkeypatch.setattr("dalib.run.several.train", lambda config, **options: trained.append(config))
    given = [np.full((8, 8, 3), shade, np.uint8) for shade in range(12)]
    with contextlib.suppress(UserError):  # nothing is trained
        dalib.adapt_each(images / "source", {"night": given}, out=tmp_path / "runs", **QUICK)
    assert len(trained) == 1
    assert "\ntarget night: list-of-12-images\n" in capsys.readouterr().out


def test_adapt_points_to_adapt_each(images):
    with pytest.raises(UserError, match=r"for several targets.*dalib.adapt_each\(source, \{name: target\}\)"):
        dalib.adapt(images / "source", {"street": images / "street"})
    with pytest.raises(UserError, match="expected a dictionary of names and targets, got list"):
        dalib.adapt_each(images / "source", [images / "street"])


def test_the_configuration_of_a_run_has_one_target_and_its_labelled_set(tmp_path):
    config = TrainConfig(target={"a": "x", "b": "y"}, evaluate={"b": "z"}, overwrite=True)
    own = [run_config(config, name, SeveralFolder(tmp_path)) for name in ("a", "b")]
    assert [(each.target, each.evaluate, each.overwrite) for each in own] == [("x", None, False), ("y", "z", False)]
    assert own[1].out == str(tmp_path / "b")


def test_a_target_that_cannot_be_read_keeps_no_other_from_being_trained(images, tmp_path, capsys):
    (tmp_path / "cut").mkdir()
    whole = (images / "street/dark/0.png").read_bytes()
    for number in range(3):
        (tmp_path / "cut" / f"{number}.png").write_bytes(whole[:60])
    targets = {"cut": tmp_path / "cut", "street": images / "street", "night": images / "night"}
    out = tmp_path / "runs"
    with pytest.raises(UserError) as error:
        dalib.adapt_each(images / "source", targets, out=out, **QUICK)
    assert str(error.value).startswith("target=")
    assert "none of its 3 images can be read" in str(error.value)
    assert f"Once that is corrected, go on: dalib.adapt_each(resume={str(out)!r})" in str(error.value)
    assert "target cut is left out" in capsys.readouterr().err
    status = {each.name: each.status for each in SeveralTargets.read(out / "targets.json").targets}
    assert status == {"cut": "waiting", "street": "done", "night": "done"}
    for number in range(3):
        (tmp_path / "cut" / f"{number}.png").write_bytes((images / f"street/dark/{number}.png").read_bytes())
    trained = []
    runs = dalib.adapt_each(resume=out, on_evidence=lambda *evaluation: trained.append(evaluation[:2]))
    assert {each.status for each in SeveralTargets.read(out / "targets.json").targets} == {"done"}
    assert list(runs) == ["cut", "street", "night"]
    assert "source-only" not in {name for name, _ in trained}  # taken over from street


def test_the_source_only_model_comes_from_whichever_run_has_the_same(images, tmp_path, capsys):
    for seed in (1, 0):
        dalib.adapt(images / "source", images / "street", out=tmp_path / str(seed), seed=seed, **QUICK)
    before = [RunFolder(tmp_path / str(seed)) for seed in (1, 0)]
    settings = read_plain_config(before[1].config, out=str(tmp_path / "night"))
    trained = []
    capsys.readouterr()
    train(
        replace(settings, target=str(images / "night")),
        siblings=before,
        on_evidence=lambda *evaluation: trained.append(evaluation[0]),
    )
    assert trained
    assert "source-only" not in trained
    assert f"taken over from {before[1].root}" in capsys.readouterr().out
