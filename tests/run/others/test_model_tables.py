"""Tables of probabilities that other programs wrote."""

import re

import numpy as np
import pytest

import dalib
from dalib.core.errors import Setting, UserError
from dalib.run.others.model_tables import checked_probabilities, positions_of, read_table
from models_elsewhere import AFTER, BEFORE, CLASSES, FEATURES, LABELS, NAMES, write_csv


@pytest.mark.parametrize("form", ["npz", "parquet", "semicolons", "predict", "tsv"])
def test_forms_of_tables(form, tmp_path):
    if form == "npz":
        place = tmp_path / "t.npz"
        np.savez(place, probabilities=AFTER, names=np.array(NAMES), classes=np.array(CLASSES))
    elif form == "parquet":
        pandas = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
        place = tmp_path / "t.parquet"
        pandas.DataFrame(AFTER, columns=CLASSES).assign(path=NAMES).to_parquet(place)
    elif form == "semicolons":  # Excel of a country with decimal commas
        place = tmp_path / "t.csv"
        lines = [
            ";".join([name, *(f"{value:.3f}".replace(".", ",") for value in row)])
            for name, row in zip(NAMES, AFTER, strict=True)
        ]
        place.write_bytes(("\ufeffsep=;\r\nDatei;" + ";".join(CLASSES) + "\r\n" + "\r\n".join(lines) + "\r\n").encode())
    elif form == "tsv":
        place = tmp_path / "t.tsv"
        write_csv(place, AFTER)
        place.write_text(place.read_text().replace(",", "\t"))
    else:
        place = tmp_path / "t.csv"
        rows = ["path,class,confidence,runner_up,runner_up_confidence"]
        for name, label in zip(NAMES, LABELS, strict=True):
            rows.append(f"{name},{CLASSES[label]},0.9250,{CLASSES[(label + 1) % 4]},0.0250")
        place.write_text("\n".join(rows))
    table = read_table(place, "models", CLASSES)
    assert table.names == tuple(NAMES)
    assert table.classes == tuple(CLASSES)
    assert table.most_likely_only == (form == "predict")
    np.testing.assert_allclose(table.probabilities.numpy(), AFTER, atol=1e-3)


@pytest.mark.parametrize("index", [False, True])
def test_predictions_as_a_data_frame_writes_them_are_probabilities_and_no_truth(index, tmp_path):
    lines = [("," if index else "") + "path,label,confidence," + ",".join(CLASSES)]
    for number, (name, row) in enumerate(zip(NAMES, AFTER, strict=True)):
        cells = [name, CLASSES[row.argmax()], row.max(), *row]
        lines.append(",".join(map(str, [number, *cells] if index else cells)))
    (tmp_path / "t.csv").write_text("\n".join(lines))
    for classes in (CLASSES, ()):
        table = read_table(tmp_path / "t.csv", "models", tuple(classes))
        assert (table.names, table.classes, table.labels) == (tuple(NAMES), tuple(CLASSES), None)
        np.testing.assert_allclose(table.probabilities.numpy(), AFTER, atol=1e-6)


@pytest.mark.parametrize(
    ("row", "remedy"),
    [
        ([0.33, 0.34, 0.34], "divide rounded probabilities by their sum"),
        ([30.0, 30.0, 40.0], "divide percentages by 100"),
        ([3.0, -1.0, 2.0], "apply softmax to logits first"),
    ],
)
def test_numbers_that_are_no_probabilities_are_told_what_to_do(row, remedy):
    with pytest.raises(UserError, match=remedy):
        checked_probabilities([row], Setting("models"))


def test_folders_that_all_names_share_do_not_count(tmp_path):
    absolute = [f"/data/x/{name.removeprefix('street/')}" for name in NAMES]
    models = {
        "a": write_csv(tmp_path / "a.csv", BEFORE),
        "b": write_csv(tmp_path / "b.csv", AFTER[::-1], absolute[::-1]),
    }
    assert dalib.judge_models(models, features=FEATURES).best == "b"


def test_predictions_of_a_model_that_knows_unknown_images_are_read_as_those_of_known_classes(tmp_path):
    header = "path,class,confidence,runner_up,runner_up_confidence,known"
    place = tmp_path / "open.csv"
    place.write_text(f"{header},known_class\nx.jpg,unknown,0.6,cup,0.3,0.1,pen\ny.jpg,mug,0.8,cup,0.1,0.9,mug\n")
    table = read_table(place, "models")
    assert table.classes == ("cup", "mug", "pen")
    assert table.probabilities.argmax(dim=1).tolist() == [2, 1]
    place.write_text(f"{header}\nx.jpg,pen,0.6,cup,0.3,0.9\n")
    assert read_table(place, "models").classes == ("cup", "pen")
    place.write_text(f"{header}\nx.jpg,unknown,0.6,cup,0.3,0.1\n")
    with pytest.raises(UserError, match="row 1: an image that is called unknown, in a table without the column known_"):
        read_table(place, "models")


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        (("1", "2", "3"), [1, 2, 3], [0, 1, 2]),
        (("1", "2", "3"), [1, 2, 1], [0, 1, 0]),  # as positions they would be the second and the third class
        (("2", "0", "1"), [0, 1, 2], [1, 2, 0]),
        (("1", "2", "3"), [0, 1, 2], [0, 1, 2]),
        (("a", "b", "c"), np.array([2.0, 0.0]), [2, 0]),  # pandas makes floats of whole numbers
        (("a", "b", "c"), ["b", "a"], [1, 0]),
    ],
)
def test_whole_numbers_that_name_classes_are_names_and_else_positions(classes, labels, expected):
    assert positions_of(labels, classes, len(labels), Setting("validation")).tolist() == expected


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1.0, float("nan"), 2.0], "validation: row 2 has no label"),
        (["a", "B"], "the label 'B' is none of the classes 'a', 'b', 'c'; did you mean b?"),
        ([0, 3], "expected labels from 0 to 2, got 0 to 3"),
    ],
)
def test_labels_of_no_class_are_refused_by_their_row_or_name(labels, message):
    with pytest.raises(UserError, match=re.escape(message)):
        positions_of(labels, ("a", "b", "c"), len(labels), Setting("validation"))
