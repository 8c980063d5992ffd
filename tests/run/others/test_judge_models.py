"""`dalib.judge_models`: models that were trained elsewhere, given as arrays and as files."""

import numpy as np
import pytest
import torch

import dalib
from dalib.core.errors import UserError
from dalib.run.others.model_tables import read_table
from models_elsewhere import AFTER, BEFORE, CLASSES, FEATURES, LABELS, NAMES, features_and_labels, noisy, write_tables

WITH_NAN = np.where(LABELS[:, None] == 1, np.nan, AFTER)


@pytest.fixture
def tables(tmp_path):
    return write_tables(tmp_path)


def test_arrays_give_a_verdict_a_ranking_and_estimates():
    source, labels = features_and_labels(2)
    found = dalib.judge_models(
        {"before": BEFORE, "after": torch.from_numpy(AFTER)},
        features=FEATURES,
        source=(source, labels),
        validation={"before": (BEFORE, LABELS), "after": (AFTER, LABELS)},
        reference="before",
    )
    assert isinstance(found, dalib.ModelsJudgement)
    assert (found.best, found.outcome, found.ranking) == ("after", "helped", ("after", "before"))
    assert found.probability("after", "before") > 0.9
    for each in found.models:
        assert each.estimate.low <= each.estimate.value <= each.estimate.high
    assert found.missing == ()


def test_files_in_any_order_give_what_arrays_give(tables):
    of_arrays = dalib.judge_models({"before": BEFORE, "after": AFTER}, features=FEATURES, reference="before")
    of_files = dalib.judge_models(
        {"before": tables / "before.csv", "after": str(tables / "after.csv")},
        features=tables / "features.npz",
        reference="before",
    )
    assert of_files.pairs[0][1] == pytest.approx(of_arrays.pairs[0][1])
    assert len(of_files.differing) == 20


@pytest.mark.parametrize(
    ("folder", "told"), [("night", ["night", "street"]), ("/data/street", []), ("street", []), ("", [])]
)
def test_images_of_folders_of_other_names_are_taken_for_the_same_with_a_note(folder, told, tmp_path, capsys):
    header = f"path,{','.join(CLASSES)}"
    for name, below, table in (("a", "street", BEFORE), ("b", folder, AFTER)):
        rows = [
            f"{f'{below}/' * bool(below)}{number}.png,{','.join(map(str, row))}"
            for number, row in enumerate(table.tolist())
        ]
        (tmp_path / f"{name}.csv").write_text("\n".join([header, *rows]))
    dalib.judge_models({name: tmp_path / f"{name}.csv" for name in "ab"}, features=FEATURES)
    printed = capsys.readouterr().out
    assert ("taken for the same" in printed) == bool(told)
    assert not told or f"in the folder {told[0]}, and those of the first model in {told[1]}" in printed


def test_a_table_of_predict_is_read_once_and_spread_over_the_classes_that_others_name(tmp_path, monkeypatch):
    place, reading = tmp_path / "t.csv", []
    place.write_text("path,class,confidence,runner_up,runner_up_confidence\nx.jpg,cup,0.8,pen,0.1\n")
    monkeypatch.setattr(
        "dalib.run.others.judge_models.read_table",
        lambda *arguments, **more: reading.append(1) or read_table(*arguments, **more),
    )
    whole = tmp_path / "w.csv"
    whole.write_text("path,cup,mug,pen\nx.jpg,0.5,0.25,0.25\n")
    dalib.judge_models({"a": place, "b": whole})
    assert len(reading) == 2
    table = read_table(place, "models")
    assert table.classes == ("cup", "pen")
    spread = table.over(("cup", "mug", "pen"))
    assert spread.classes == ("cup", "mug", "pen")
    np.testing.assert_allclose(spread.probabilities.numpy(), [[0.8, 0.1, 0.1]])


def test_two_tables_of_predict_alone_name_all_classes(tmp_path):
    def write(name, labels):
        rows = ["path,class,confidence,runner_up,runner_up_confidence"]
        rows += [
            f"{place},{CLASSES[one]},0.9,{CLASSES[(one + 1) % 4]},0.1" for place, one in zip(NAMES, labels, strict=True)
        ]
        (tmp_path / name).write_text("\n".join(rows))
        return tmp_path / name

    models = {"a": write("a.csv", noisy(LABELS, 0.7)), "b": write("b.csv", LABELS)}
    found = dalib.judge_models(models, features=FEATURES)
    assert found.best == "b"
    assert len(found["b"].failed) == 0


def test_more_images_than_judge_are_drawn():
    many = 60
    found = dalib.judge_models({"a": np.tile(BEFORE, (many, 1)), "b": np.tile(AFTER, (many, 1))})
    assert found.images == 2000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": {"a": AFTER}}, "models: expected at least two models by their names, got 1"),
        ({"models": {"a": AFTER, "b": AFTER * 2}}, r"models\['b'\]: expected rows of at least 0 that sum to 1, got 2"),
        ({"models": {"a": AFTER, "b": AFTER * 100}}, "divide percentages by 100"),
        ({"models": {"a": AFTER, "b": WITH_NAN}}, "NaN or infinite values in 30 of 120 rows"),
        ({"models": {"a": AFTER, "b": AFTER[1:]}}, "expected 120 rows, one an image, as the first model has; got 119"),
        ({"models": {"a": AFTER, "b": np.eye(3)[LABELS % 3]}}, "expected 4 classes, got 3"),
        ({"models": {"a": AFTER, "b": "yes"}}, "expected a table that ends in .csv"),
        ({"reference": "bfore"}, "did you mean before?"),
        ({"features": FEATURES[1:]}, "^features: expected 120 rows, one an image, got 119"),
        ({"features": FEATURES * np.nan}, "120 rows have NaN or infinite values"),
        ({"features": FEATURES[:, 0]}, r"expected features \(images, features\), got shape \(120,\)"),
        ({"source": (FEATURES, LABELS)}, "^source: expected features or images of the target too"),
        ({"source": (FEATURES, LABELS), "images": "x"}, "source: expected a folder of images, as images is one"),
        ({"source": (FEATURES[:, :3], LABELS), "features": FEATURES}, "expected 12 features as of the target, got 3"),
        ({"features": FEATURES, "images": "x"}, "images: expected either images or features, got both"),
        ({"images": "x"}, "have no names of images"),
        ({"validation": {"aftr": (AFTER, LABELS)}}, "did you mean after?"),
        (
            {"models": {"a": "none.csv", "b": "none.csv"}, "validation": {"cat": (AFTER, LABELS)}},
            r"expected names of models \(a, b\), got 'cat'",  # before a table is read
        ),
        ({"validation": {"after": AFTER}}, r"validation\['after'\]: expected a pair \(probabilities, labels\)"),
        ({"validation": {"after": (AFTER, LABELS + 1)}}, "expected labels from 0 to 3, got 1 to 4"),
        ({"validation": {"after": (AFTER, LABELS[1:])}}, "as many labels as rows, got 119 and 120"),
        ({"classes": ["a", "b"]}, "expected 2 classes, got 4"),
        ({"classes": ["a", "a", "b", "c"]}, "classes: expected each name once, got 'a' more than once"),
        ({"classes": "abcd"}, "classes='abcd': expected several names"),
        ({"names": NAMES[:1] * 120}, "names: expected each name once"),
        ({"models": {1: BEFORE, 2: AFTER}}, "models: expected names as text, got 1; write '1' in its place"),
        ({"reference": 0}, "reference=0: expected one of the models, before, after"),
        ({"validation": [(AFTER, LABELS)]}, "validation: expected tables by the names of the models, got list"),
        ({"names": NAMES[1:]}, "expected as many names as rows|expected 119 rows"),
    ],
)  # fmt: skip
def test_mistakes_are_explained(change, message):
    given = {"models": {"before": BEFORE, "after": AFTER}} | change
    with pytest.raises(UserError, match=message):
        dalib.judge_models(given.pop("models"), **given)


def test_a_table_without_names_is_refused_where_nobody_knows_which_row_or_column_is_which(tmp_path):
    rows = [f"{number}.jpg,0.7,0.2,0.1" for number in range(3)]
    (tmp_path / "a.csv").write_text("\n".join(["path,x,y,z", *rows]) + "\n")
    (tmp_path / "b.csv").write_text("\n".join(["path,x,y,z", *rows[::-1]]) + "\n")
    (tmp_path / "c.csv").write_text("\n".join(["path,z,y,x", *rows]) + "\n")
    nameless = np.full((3, 3), 1 / 3)
    for other, what in (("b", "names of images"), ("c", "names of classes")):
        models = {"a": tmp_path / "a.csv", other: tmp_path / f"{other}.csv", "array": nameless}
        with pytest.raises(UserError, match=f"models: array has no {what}, and the others have theirs in several"):
            dalib.judge_models(models)
    names = [f"{number}.jpg" for number in range(3)]
    models = {"a": tmp_path / "a.csv", "b": tmp_path / "b.csv", "array": nameless}
    assert dalib.judge_models(models, names=names, classes=["x", "y", "z"]).images == 3


def test_names_of_classes_and_images_may_stand_in_arrays():
    given = {"features": FEATURES, "validation": {"after": (AFTER, LABELS + 1)}}
    found = dalib.judge_models(
        {"before": BEFORE, "after": AFTER}, classes=np.arange(1, 5), names=np.array(NAMES), **given
    )
    assert found["after"].validation_accuracy == np.mean(AFTER.argmax(axis=1) == LABELS)


def test_a_run_in_place_of_a_table_is_told_what_writes_one(tmp_path):
    (tmp_path / "judgement.json").write_text("{}")
    with pytest.raises(UserError, match=r"a run; expected a table, as `dalib\.Run\.predict` writes it"):
        dalib.judge_models({"a": tmp_path, "b": AFTER})
