"""A Run does with its folder what the commands do."""

import errno
import html
import os
import re
import shutil
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import dalib
from cups_and_pens import QUICK
from dalib.core.errors import UserError
from dalib.records.folder import RunFolder
from dalib.report.verdict import verdict_of
from dalib.run.finished.predict import predict
from dalib.run.opened import Run


def test_a_run_prints_what_came_of_it_in_six_lines(cups_run):
    lines = repr(cups_run).splitlines()
    assert len(lines) <= 6
    assert str(cups_run.path) in lines[0]
    assert "10 target images, 2 classes" in lines[0]
    assert cups_run.judgement.headline in lines[1]
    (selected,) = (line for line in lines if line.startswith(">"))
    assert selected.split()[1] == cups_run.selected
    assert selected.endswith(", selected")
    assert lines[-1] == f"report: {cups_run.folder.report}"


def test_a_run_prints_the_accuracies_of_the_labels_that_its_verdict_rests_on(cups_run, cups_and_pens, tmp_path):
    run = dalib.open_run(shutil.copytree(cups_run.path, tmp_path / "run"))
    names = sorted(path.name for path in (cups_and_pens / "street").iterdir())
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(f"{name},cup\n" for name in names))
    measured = run.evaluate_labels(tmp_path / "labels.csv")
    told = repr(run)
    assert "from the labels of 10 target images." in told.splitlines()[1]
    for name, each in measured.models.items():
        assert f"{name:<12}about {each.value:.1%} (" in told
    assert "estimated" not in told
    count = run.evaluate(cups_and_pens / "labelled").count
    assert repr(run).count(f"right on {count} labelled images of") == len(measured.models)


def test_labels_may_be_a_dictionary_or_a_data_frame(cups_run, cups_and_pens, tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    run = dalib.open_run(shutil.copytree(cups_run.path, tmp_path / "run"))
    names = sorted(path.name for path in (cups_and_pens / "street").iterdir())
    frame = pd.DataFrame({"path": names, "label": "cup"})
    frame.to_csv(tmp_path / "labels.csv", index=False)
    of_file = run.evaluate_labels(tmp_path / "labels.csv")
    for labels in (dict.fromkeys(names, "cup"), frame, frame.set_index("path")["label"]):
        found = run.evaluate_labels(labels)
        assert (found.count, found.models) == (of_file.count, of_file.models)
        assert "hints/" not in repr(run)


def test_in_a_notebook_it_shows_the_verdict_and_target_images_and_escapes_names(cups_run):
    page = cups_run._repr_html_()
    assert html.escape(cups_run.judgement.headline) in page
    assert page.count("data:image/png;base64,") == len(list(cups_run.folder.samples.glob("*.png"))[:12])
    assert "<script" not in page


def test_predictions_have_rows_and_list_what_cannot_be_read(cups_run, cups_and_pens, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "a.png").write_bytes((cups_and_pens / "street/00.png").read_bytes())
    (folder / "b.png").write_bytes(b"no image")
    found = cups_run.predict(folder)
    assert len(found) == 1
    assert found[0].path == str(folder / "a.png")
    assert found[0].label in ("cup", "pen")
    assert found[0].confidence == max(found[0].probabilities.values())
    assert sum(found[0].probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert [each.path for each in found.unreadable] == [str(folder / "b.png")]
    assert "1 image, 1 unreadable" in repr(found)
    assert cups_run.predict(cups_and_pens / "street/00.png")[0].probabilities == found[0].probabilities


def test_predictions_are_those_of_the_command_and_out_writes_its_table(cups_run, cups_and_pens, tmp_path):
    out = tmp_path / "street.csv"
    found = cups_run.predict(cups_and_pens / "street", out=out)
    table = [line.split(",") for line in out.read_text().splitlines()[1:]]
    assert len(found) == len(table) == 10
    assert [row.label for row in found] == [row[1] for row in table]
    before = out.read_bytes()
    predict(cups_run.folder, str(cups_and_pens / "street"), str(tmp_path / "command.csv"))
    assert (tmp_path / "command.csv").read_bytes() == before
    cups_run.predict([cups_and_pens / "street"], out=out)
    assert out.read_bytes() == before, "a list of one folder is that folder"
    cups_run.predict(sorted((cups_and_pens / "street").iterdir()), out=out)
    assert out.read_bytes() == before, "and so is a list of its files"


def test_a_run_that_is_opened_again_measures_asks_compares_keeps_and_exports(cups_run, cups_and_pens, tmp_path):
    again = dalib.open_run(cups_run.path)
    assert isinstance(again, Run)
    assert again.folder.predictions.stat().st_mode == again.folder.summary.stat().st_mode, "for the same readers"
    page = again.path / "report.html"
    page.unlink()
    assert again.evaluate(cups_and_pens / "labelled").count == 8
    assert "Mistakes" in page.read_text(encoding="utf-8"), "the report knows of it"
    assert again.query(3, out=tmp_path / "label.csv") == tmp_path / "label.csv"
    assert (tmp_path / "label.csv").is_file()
    other = dalib.adapt(cups_and_pens / "studio", cups_and_pens / "street", out=tmp_path / "other", seed=1, **QUICK)
    assert set(again.compare(other)) == {str(cups_run.path), str(other.path)}
    assert dalib.compare(again, other.path) == again.compare(other), "runs and their folders do alike"
    with pytest.raises(UserError, match="got list; give them one by one"):
        dalib.compare([again, other])
    with pytest.raises(UserError, match="at least two different runs, got 1"):
        dalib.compare(again)
    with pytest.raises(UserError, match="model 'foo': expected a model of this run"):
        other.keep("foo")
    (other.path / "report.html").unlink()
    assert other.keep("source-only").model == other.selected == "source-only"
    assert (other.path / "report.html").is_file()
    assert other.export(tmp_path / "model") == tmp_path / "model"
    assert dalib.load(tmp_path / "model").classes == ("cup", "pen")
    with pytest.raises(UserError, match=r"model\.xyz'.*ends in \.onnx, \.pt2, \.dalib or in nothing, for a folder"):
        other.export(tmp_path / "model.xyz")
    assert other.export(tmp_path / "model.v2", "torch") == tmp_path / "model.v2"
    with pytest.raises(TypeError, match="unexpected keyword argument 'sise'"):
        again.evaluate(cups_and_pens / "labelled", sise=3)
    assert again.report.is_file()


@pytest.fixture
def full_disk(monkeypatch):
    """A disk that is full for the name and the content of files; a folder on it seems to have room."""

    def refuse(self, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", refuse)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_on_a_full_disk_predictions_are_in_the_error_that_names_the_place(
    ending, cups_run, cups_and_pens, tmp_path, full_disk
):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"street{ending}"
    said = f"^{re.escape(str(out))}: No space .*; make room.* The predictions are not lost"
    with pytest.raises(UserError, match=said) as caught:
        cups_run.predict(cups_and_pens / "street", out=out)
    assert len(caught.value.result) == 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".npz", ".parquet", ""])
def test_on_a_full_disk_features_are_in_the_error_that_names_the_place(
    ending, cups_run, cups_and_pens, tmp_path, full_disk
):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"street{ending}"
    with pytest.raises(UserError, match=f"^{re.escape(str(out))}: No space .* The features are not lost") as caught:
        cups_run.features(cups_and_pens / "street", out=out)
    assert len(caught.value.result) == 10
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("work", "place"),
    [
        (lambda run, cups_and_pens: run.report, "report.html"),
        (lambda run, cups_and_pens: run.keep("adapted"), "selection.json"),
        (lambda run, cups_and_pens: run.evaluate(cups_and_pens / "labelled"), "labelled.*.json"),
        (lambda run, cups_and_pens: run.query(2, out=cups_and_pens / "ask.csv"), "ask.csv"),
    ],
)
def test_what_a_run_cannot_write_is_an_error_with_a_remedy(work, place, cups_run, cups_and_pens, full_disk):
    with pytest.raises(UserError, match=rf"{place}: No space left on device; make room, and call this again"):
        work(dalib.open_run(cups_run.path), cups_and_pens)


def test_a_list_whose_page_cannot_be_written_is_not_there_either(cups_run, tmp_path, monkeypatch):
    def refuse(page, **content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(page))

    monkeypatch.setattr("dalib.run.finished.query.write_labelling_page", refuse)
    with pytest.raises(UserError, match=r"ask\.html: No space left on device"):
        cups_run.query(2, out=tmp_path / "ask.csv")
    monkeypatch.undo()
    assert cups_run.query(2, out=tmp_path / "ask.csv").is_file(), "the same call goes on once there is room"


def test_a_place_that_cannot_be_written_is_refused_before_any_image_is_read(
    cups_run, cups_and_pens, tmp_path, monkeypatch
):
    def refuse(**settings):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    monkeypatch.setattr(cups_run, "predictor", None)
    refused = partial(pytest.raises, UserError, match="no file can be written in .*Read-only file system")
    with refused():
        cups_run.predict(cups_and_pens / "street", out=tmp_path / "street.csv")
    with refused():
        cups_run.features(cups_and_pens / "street", out=tmp_path / "street.npz")
    with refused():
        cups_run.evaluate(cups_and_pens / "labelled")
    with refused():
        cups_run.query(2, out=tmp_path / "ask.csv")


def test_a_run_predicts_with_the_models_that_its_folder_has_now(cups_run, cups_and_pens, tmp_path):
    run = dalib.open_run(shutil.copytree(cups_run.path, tmp_path / "run"))
    before, predictor = run.predict(cups_and_pens / "street").probabilities, run.predictor()
    assert run.predictor() is predictor
    shutil.rmtree(run.path)
    other = dalib.adapt(cups_and_pens / "studio", cups_and_pens / "street", out=run.path, seed=1, **QUICK)
    now = run.predict(cups_and_pens / "street").probabilities
    assert not torch.equal(now, before)
    assert torch.equal(now, dalib.open_run(other.path).predict(cups_and_pens / "street").probabilities)
    run.keep(run.selected)
    assert run.predictor().name == f"{run.selected} model (selected by the user)"


def test_a_run_of_a_relative_path_is_found_from_another_folder_and_keeps_its_name(
    cups_run, cups_and_pens, tmp_path, monkeypatch
):
    monkeypatch.chdir(cups_run.path.parent)
    run = dalib.open_run(cups_run.path.name)
    assert (run.path, os.fspath(run)) == (Path(cups_run.path.name), cups_run.path.name)
    monkeypatch.chdir(tmp_path)
    assert repr(run).startswith(f"Run {cups_run.path.name}: ")
    assert len(run.predict(cups_and_pens / "street")) == 10
    assert run.report.samefile(cups_run.path / "report.html")
    assert Path(run).samefile(cups_run.path), "it may be given to resume"
    assert run.keep("adapted").model == "adapted"


def test_a_run_that_has_not_finished_says_so(cups_run, tmp_path):
    root = tmp_path / "begun"
    root.mkdir()
    for name in ("config.yaml", "summary.json"):
        (root / name).write_bytes((cups_run.path / name).read_bytes())
    begun = dalib.open_run(root)
    assert "no judgement yet" in repr(begun)
    with pytest.raises(UserError, match=r"begun: no judgement yet, .*; dalib\.adapt\(resume=.*\) resumes it"):
        _ = begun.judgement
    assert RunFolder.existing(root).root == root


def test_what_is_no_path_and_no_number_is_refused_by_its_name(cups_run):
    for call, message in (
        (lambda: dalib.open_run(None), "^run: expected a path, got NoneType"),
        (lambda: dalib.load(None), "^run: expected a path, got NoneType"),
        (lambda: cups_run.query("5"), "^count='5': expected at least 1, a whole number"),
        (lambda: cups_run.evaluate_labels(3), "^labels: expected a file with the columns path and label, a dictionary"),
        (lambda: cups_run.evaluate_labels(["cup"]), "^labels: labels in the order of the images are for a target that"),
        (lambda: cups_run.evaluate_labels({"nowhere.png": "cup"}), "'nowhere.png' is none of the 10 images"),
        (lambda: cups_run.evaluate(""), "^data='': expected a path, got an empty text"),
        (
            lambda: cups_run.export("model.pth"),
            r"^out='model\.pth': expected a name that ends in \.onnx, \.pt2, \.dalib or in nothing, for a folder; or",
        ),
        (lambda: dalib.adapt("", "street"), "^source='': expected a path, got an empty text"),
    ):
        with pytest.raises(UserError, match=message):
            call()


def test_query_and_labels_take_groups_as_the_commands_do(cups_and_pens, tmp_path):
    run = dalib.adapt(cups_and_pens / "studio", cups_and_pens / "street", out=tmp_path / "run", **QUICK)
    one = r"(0)[0-9]\.png$"  # all ten images of the target
    to_label = run.query(4, out=tmp_path / "label.csv", groups=one)
    header, *rows = to_label.read_text().splitlines()
    at = header.split(",").index("label")
    filled = [",".join([*row.split(",")[:at], "cup", *row.split(",")[at + 1 :]]) for row in rows]
    to_label.write_text("\n".join([header, *filled]) + "\n")
    assert run.evaluate_labels(to_label).groups is None
    assert run.evaluate_labels(to_label, groups=one).groups == 1


def test_groups_may_be_a_column_of_data_frames(cups_and_pens, tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))

    def frame(place):
        paths = sorted((cups_and_pens / place).rglob("*.png"))
        patients = [f"{path.parent.name} {number // 4}" for number, path in enumerate(paths)]
        return pd.DataFrame({"path": paths, "label": [path.parent.name for path in paths], "patient": patients})

    source, target, labelled = map(frame, ("studio", "street", "labelled"))
    run = dalib.adapt(source, target.drop(columns="label"), out=tmp_path / "run", groups="patient", **QUICK)
    recorded = run.folder.read_groups()
    assert (recorded.definition, recorded.source) == ("patient", 6)
    assert recorded.target == (0, 0, 0, 0, 1, 1, 1, 1, 2, 2)
    assert run.evaluate(labelled).groups == 2


def test_predictions_and_measurements_take_objects_too(cups_run, cups_and_pens, tmp_path):
    paths = sorted((cups_and_pens / "street").iterdir())
    expected = [row.probabilities for row in cups_run.predict(paths)]
    pictures = [Image.open(path) for path in paths]
    array = np.stack([np.asarray(each) for each in pictures])
    for kind in (
        pictures,
        array,
        (array, [0] * 10),
        list(zip(pictures, "ab" * 5, strict=True)),
        [pictures[0], *paths[1:]],
    ):
        found = cups_run.predict(kind)
        assert [row.probabilities for row in found] == [pytest.approx(each, abs=1e-6) for each in expected]
    assert cups_run.predict(array)[3].path == "array/3"
    spoilt = cups_run.predict([*pictures, np.zeros((4, 4, 2), np.uint8)])
    assert len(spoilt) == 10
    assert [(each.path, "expected an image" in each.reason) for each in spoilt.unreadable] == [("list/10", True)]
    out = tmp_path / "table.csv"
    cups_run.predict(array, out=out)
    table = [line.split(",") for line in out.read_text().splitlines()[1:]]
    assert [row[1] for row in table] == [max(each, key=each.get) for each in expected]
    labelled = [(path, path.parent.name) for path in sorted((cups_and_pens / "labelled").rglob("*.png"))]
    run = dalib.open_run(cups_run.path)
    assert run.evaluate(labelled).models == run.evaluate(cups_and_pens / "labelled").models
    with pytest.raises(UserError, match=r"data: expected pairs \(image, label\)"):
        run.evaluate(pictures)


def test_objects_print_as_something_to_read(cups_run, cups_and_pens):
    run = dalib.open_run(cups_run.path)
    predictions = run.predict(cups_and_pens / "street")
    page = predictions._repr_html_()
    assert page.count("<tr>") == 11
    assert "10 images" in page
    assert repr(run.judgement).startswith(f"Judgement: {run.judgement.outcome}\n  {run.judgement.headline}.")
    assert "8 labelled images of" in repr(run.evaluate(cups_and_pens / "labelled"))
    assert verdict_of(run.folder.read_records(), "").headline in repr(run).splitlines()[1], "measured, as in the report"
    assert "model (selected" in repr(run.folder.selection())
    assert "images: source 22, source validation 2, target 10" in repr(run.summary)
    assert "2 classes" in repr(run.predictor())
    one = run.predictor()(cups_and_pens / "street/00.png")
    assert repr(one).startswith(f"Prediction(label='{one.label}', confidence={one.confidence:.3f}, probabilities={{'")
    assert repr(predictions[0]).startswith(f"ImagePrediction(path={predictions[0].path!r}, label='")
    for each in (run, run.judgement, run.summary, predictions, one, predictions[0]):
        assert " object at 0x" not in repr(each)
        assert max(map(len, repr(each).splitlines())) < 400
    config = dalib.TrainConfig(source="a", steps=5, data={"size": 8})
    assert repr(config) == "TrainConfig(source='a', steps=5, data={'size': 8})"
    assert eval(repr(config), {"TrainConfig": dalib.TrainConfig}) == config
