"""Labels of some target images that are given in Python."""

import numpy as np
import pandas as pd
import pytest
import torch

from dalib.core.errors import UserError
from dalib.data.labels import read_target_labels
from dalib.run.others.given_labels import labels_file

OF_OBJECTS = [f"/cache/given/0123456789abcdef0123456789abcdef/{row:02}.png" for row in range(12)]
ARRAY = "/cache/given/0123456789abcdef0123456789abcdef/array-of-12-images.csv"
PIXELS = np.zeros((12, 8, 8), dtype=np.uint8)
CLASSES = ("cup", "pen")


def read(labels, target=PIXELS, names=OF_OBJECTS, place=ARRAY, classes=CLASSES):
    """The class of each labelled image, by its row."""
    found = read_target_labels(labels_file(labels, target), names, classes, place, argument="target_labels")
    return dict(zip(found.rows.tolist(), [classes[each] for each in found.labels.tolist()], strict=True))


def of_rows(**labels):
    return pd.Series([labels.get(f"row_{row}") for row in range(12)])


@pytest.mark.parametrize(
    "labels",
    [
        {"3": "pen", 11: "cup"},
        {"03": "pen", "11": "cup"},
        [None, None, None, "pen", *[None] * 7, "cup"],
        of_rows(row_3="pen", row_11="cup"),
        pd.Series(["pen", "cup"], index=["3", "11"]),
        pd.DataFrame({"path": [3, 11], "label": ["pen", "cup"]}),
        pd.DataFrame({"label": ["pen", "cup"]}, index=["03", "11"]),
        pd.DataFrame({"label": of_rows(row_3="pen", row_11="cup")}),
    ],
    ids=str,
)
def test_images_that_are_objects_have_labels_by_number_or_in_their_order(labels):
    assert read(labels) == {3: "pen", 11: "cup"}


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1, *[-1] * 10, 0]),
        torch.tensor([1, *[-1] * 10, 0]),
        pd.Series([1, *[None] * 10, 0]),  # whose numbers are floats
        {0: 1, 11: np.int64(0)},
    ],
    ids=["array", "tensor", "series", "dictionary"],
)
def test_labels_may_be_whole_numbers_of_which_minus_one_is_none(labels):
    assert read(labels, classes=("0", "1")) == {0: "1", 11: "0"}


def test_files_have_labels_by_their_paths_or_in_their_order(tmp_path):
    files = [tmp_path / place / "1.png" for place in ("b", "a")]
    names, place = [str(each) for each in files], str(tmp_path)
    assert read(["pen", "cup"], files, names, place) == {0: "pen", 1: "cup"}
    assert read({files[1]: "cup"}, files, names, place) == {1: "cup"}
    assert read({"a/1.png": "cup"}, place, names, place) == {1: "cup"}


def test_a_sample_of_query_stays_one():
    frame = pd.DataFrame({"path": ["1", "2"], "label": ["cup", None], "stratum": [0, 0], "population": [12, 12]})
    found = read_target_labels(labels_file(frame, PIXELS), OF_OBJECTS, CLASSES, ARRAY, argument="target_labels")
    assert (found.listed, found.strata.tolist(), found.population) == (2, [0], {0: 12})


@pytest.mark.parametrize(
    ("labels", "target", "said"),
    [
        (["cup"] * 11, PIXELS, "target_labels: expected one label for each of 12 images of the target, got 11"),
        (["cup"], "street", "target_labels: labels in the order of the images are for a target that is a list, an"),
        (["cup"] * 12, {"a": PIXELS}, "target_labels: expected one target, as these are labels of one target's images"),
        (3, PIXELS, "target_labels: expected a file with the columns path and label, a dictionary of images and"),
        ({}, PIXELS, "target_labels: expected at least one image, got none"),
        (pd.DataFrame({"cup": [1.0]}), PIXELS, "target_labels: expected the columns path and label, got cup"),
        ({"12": "cup"}, PIXELS, "target_labels, row 1: '12' is none of the 12 images of the target array-of-12-images"),
        ({"12": "cup"}, PIXELS, "expected the number of an image, such as '00'"),
        (
            {"1": "cup", "2": "pan"},
            PIXELS,
            "target_labels, row 2: 'pan' (did you mean pen?): no class; expected one of",
        ),
        ({"01": "cup", 1: "pen"}, PIXELS, "target_labels, row 2: '1' is 'pen' here and 'cup' on row 1"),
    ],
)
def test_mistakes_name_rows_and_no_file_of_the_cache(labels, target, said):
    with pytest.raises(UserError) as caught:
        read(labels, target)
    assert said in str(caught.value)
    assert "/cache" not in str(caught.value)
