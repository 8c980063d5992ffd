"""Groups of images that belong together, for the judgement of models of other origin."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import dalib
from dalib.core.errors import UserError
from models_elsewhere import AFTER, BEFORE, CLASSES, FEATURES, NAMES, sure, write_csv, write_pictures

COPIES = 10
PATIENTS = np.array([f"patient_{number % 12}" for number in range(len(NAMES))])
GIVEN = {"a": BEFORE, "b": AFTER}


def repeated(values):
    return np.repeat(values, COPIES, axis=0)


def agreements(judgement):
    """The agreements with nearest neighbours that the reasons name: of b, and of a."""
    return [float(each) for each in re.findall(r"is ([0-9.]+) for b, ([0-9.]+) for a", judgement.reasons[0])[0]]


def with_column(place, probabilities, cells, column="patient"):
    write_csv(place, probabilities)
    lines = place.read_text(encoding="utf-8").splitlines()
    lines = [f"{column},{lines[0]}", *(f"{cell},{line}" for cell, line in zip(cells, lines[1:], strict=True))]
    place.write_text("\n".join(lines), encoding="utf-8")
    return place


def test_copies_of_an_image_are_no_neighbours_that_agree_with_it():
    """Each image ten times: without groups an image's nearest neighbours are itself, and agree with any model."""
    noise = np.random.default_rng(0)
    blurred = FEATURES + noise.normal(0, 4, FEATURES.shape)
    copies = repeated(blurred) + noise.normal(0, 0.1, (COPIES * len(blurred), FEATURES.shape[1]))
    models = {name: repeated(each) for name, each in GIVEN.items()}
    once = agreements(dalib.judge_models(GIVEN, features=blurred, reference="a"))
    each = agreements(dalib.judge_models(models, features=copies, reference="a"))
    grouped = dalib.judge_models(models, features=copies, reference="a", groups=np.arange(len(copies)) // COPIES)
    assert min(each) > 0.95
    assert agreements(grouped) == pytest.approx(once, abs=0.2)
    assert max(once) < 0.9
    assert grouped.groups == (
        "Images that belong together: 1,200 images in 120 groups by the values given, the largest of 10"
    )


def test_a_column_an_expression_and_an_array_group_alike(tmp_path):
    names = [f"{patient}/{name}" for patient, name in zip(PATIENTS, NAMES, strict=True)]
    named = {name: write_csv(tmp_path / f"named_{name}.csv", each, names) for name, each in GIVEN.items()}
    order = np.random.default_rng(1).permutation(len(NAMES))
    array = {"probabilities": AFTER[order], "names": np.array(NAMES)[order], "patient": PATIENTS[order]}
    np.savez(tmp_path / "array.npz", classes=np.array(CLASSES), **array)
    frame = pd.DataFrame(AFTER, columns=CLASSES).assign(path=NAMES, patient=PATIENTS)
    of_column = with_column(tmp_path / "a.csv", BEFORE, PATIENTS)
    found = [
        dalib.judge_models(GIVEN, features=FEATURES, groups=PATIENTS),
        dalib.judge_models(GIVEN, features=FEATURES, groups=torch.arange(len(NAMES)) % 12),
        dalib.judge_models(named, features=FEATURES, groups="(patient_[0-9]+)/"),
        dalib.judge_models({"a": of_column, "b": tmp_path / "array.npz"}, features=FEATURES, groups="patient"),
        dalib.judge_models({"a": of_column, "b": frame}, features=FEATURES, groups="patient"),
    ]
    assert {round(each.probability("b", "a"), 9) for each in found} == {found[0].probability("b", "a").__round__(9)}
    assert (
        found[3].groups
        == "Images that belong together: 120 images in 12 groups by the column patient, the largest of 10"
    )


def test_a_parquet_table_and_one_of_predict_may_have_the_column(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(BEFORE, columns=CLASSES).assign(path=NAMES, patient=PATIENTS)
    frame.to_parquet(tmp_path / "a.parquet")
    likeliest = [CLASSES[each] for each in AFTER.argmax(axis=1)]
    told = {"path": NAMES, "class": likeliest, "confidence": 0.9, "runner_up": "ant", "runner_up_confidence": 0.0}
    pd.DataFrame(told).assign(patient=PATIENTS).to_csv(tmp_path / "b.csv", index=False)
    models = {"a": tmp_path / "a.parquet", "b": tmp_path / "b.csv"}
    found = dalib.judge_models(models, features=FEATURES, groups="patient")
    assert "12 groups by the column patient" in found.groups


def test_a_column_of_the_list_of_images_and_auto_group_the_images(tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    write_pictures(tmp_path)
    models = {"old": tmp_path / "old.csv", "new": tmp_path / "new.csv"}
    lines = ["path,burst", *(f"target/{number:02d}.png,{number // 4}" for number in range(40))]
    (tmp_path / "images.csv").write_text("\n".join(lines))
    found = dalib.judge_models(models, images=tmp_path / "images.csv", groups="burst")
    assert "40 images in 10 groups by the column burst, the largest of 4" in found.groups
    found = dalib.judge_models(models, images=tmp_path / "target", groups="auto")
    assert found.groups.startswith("Images that belong together: 40 images")
    with pytest.raises(
        UserError, match="no table of a model has a column of this name, nor has the list of images, whose"
    ):
        dalib.judge_models(models, images=tmp_path / "images.csv", groups="brust")


def test_a_model_is_at_chance_if_too_few_patients_speak_for_it(tmp_path):
    """Right for 11 of 30 patients with four images each: of 120 images that would be better than a guess of four."""
    labels = np.arange(30).repeat(4) % 4
    right = np.isin(np.arange(30), np.arange(0, 30, 3)).repeat(4) | (np.arange(120) >= 116)
    patients = [f"p{number // 4}" for number in range(120)]
    names = [f"{patient}/{number}.png" for number, patient in enumerate(patients)]
    said = sure(np.where(right, labels, (labels + 1) % 4))
    lines = write_csv(tmp_path / "plain.csv", said, names, labels=labels)
    header, *rows = Path(lines).read_text().splitlines()
    together = [f"patient,{header}", *(f"{patient},{row}" for patient, row in zip(patients, rows, strict=True))]
    (tmp_path / "column.csv").write_text("\n".join(together))
    models = {"a": with_column(tmp_path / "a.csv", BEFORE, PATIENTS), "b": AFTER}
    by_column = dalib.judge_models(models, validation={"a": tmp_path / "column.csv"}, groups="patient")
    validation = {"a": tmp_path / "plain.csv"}
    by_name = dalib.judge_models(GIVEN, names=NAMES, classes=CLASSES, validation=validation, groups="(p[0-9]+)/")
    assert "not better than chance" in by_column["a"].failed
    assert "not better than chance" in by_name["a"].failed
    assert dalib.judge_models(GIVEN, classes=CLASSES, validation=validation)["a"].failed == ""
    of_arrays = dalib.judge_models(GIVEN, classes=CLASSES, validation={"a": (said, labels, patients)})
    assert "not better than chance" in of_arrays["a"].failed
    of_arrays = dalib.judge_models(GIVEN, classes=CLASSES, validation={"a": (said, labels)})
    assert of_arrays["a"].failed == ""


def test_validation_arrays_have_groups_whatever_groups_the_target():
    labels = np.arange(30).repeat(4) % 4
    right = np.isin(np.arange(30), np.arange(0, 30, 3)).repeat(4) | (np.arange(120) >= 116)
    said = sure(np.where(right, labels, (labels + 1) % 4))
    validation = {"a": (said, labels, torch.arange(120) // 4)}
    for groups in (None, PATIENTS, "street/(.*)"):
        found = dalib.judge_models(GIVEN, names=NAMES, classes=CLASSES, validation=validation, groups=groups)
        assert "not better than chance" in found["a"].failed
    message = r"validation\['a'\]: expected groups with one value for each of 120 images; got the shape \(119,\)"
    with pytest.raises(UserError, match=message):
        dalib.judge_models(GIVEN, classes=CLASSES, validation={"a": (said, labels, np.arange(119))})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (PATIENTS[1:], r"groups: expected one value for each of 120 images, a column, an expression or auto; got the"),
        ("auto", "groups='auto': it compares the images themselves; give images, or a column or a regular expression"),
        ("patient", "no table of a model has a column of this name; expected a column, auto, or a regular expression"),
        ("(patient_", "not a regular expression"),
        ("(patient)", r"the regular expression is found in no path; paths are such as street/000.jpg \(target\)"),
        ("(s)(t)", "the regular expression has 2 groups; expected one"),
    ],
)
def test_mistakes_are_explained(given, message):
    with pytest.raises(UserError, match=message):
        dalib.judge_models(GIVEN, features=FEATURES, names=NAMES, groups=given)


def test_tables_without_names_take_an_array_of_groups():
    with pytest.raises(UserError, match="have no names of images to search in; give names, or what each image belongs"):
        dalib.judge_models(GIVEN, features=FEATURES, groups="([0-9])")


def test_tables_that_contradict_each_other_are_refused(tmp_path):
    models = {
        "a": with_column(tmp_path / "a.csv", BEFORE, PATIENTS),
        "b": with_column(tmp_path / "b.csv", AFTER, [*PATIENTS[:-1], "patient_99"]),
    }
    with pytest.raises(UserError, match=r"of street/119.jpg a has 'patient_11' and b 'patient_99'; correct one"):
        dalib.judge_models(models, features=FEATURES, groups="patient")
