import numpy as np
import pandas as pd
import pytest
import torch

import dalib
from dalib.core.errors import Setting, UserError
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.known import KnownRule
from dalib.models.saved import ModelDescription
from dalib.run.finished.image_features import ImageFeatures
from dalib.run.finished.image_predictions import Predictions
from dalib.run.others.table_objects import table_of

WHERE = Setting("models['a']")
P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
CLASSES, NAMES = ("x", "y", "z"), ("1.png", "2.png", "3.png")


@pytest.mark.parametrize("given", [P, P.tolist(), torch.tensor(P), torch.tensor(P, dtype=torch.bfloat16)])
def test_arrays_have_the_names_that_are_given(given):
    found = table_of(given, WHERE, NAMES)
    assert torch.allclose(found.probabilities, torch.tensor(P), atol=1e-2)
    assert (found.names, found.classes) == (NAMES, None)


@pytest.mark.parametrize(
    ("frame", "names", "classes"),
    [
        (pd.DataFrame(P, columns=CLASSES), None, CLASSES),
        (pd.DataFrame(P), None, None),
        (pd.DataFrame(P, columns=CLASSES, index=NAMES), NAMES, CLASSES),
        (pd.DataFrame(P, columns=CLASSES, index=[7, 5, 3]), ("7", "5", "3"), CLASSES),
        (pd.DataFrame(P, columns=CLASSES).assign(path=NAMES), NAMES, CLASSES),
    ],
)
def test_a_data_frame_names_its_rows_and_columns(frame, names, classes):
    found = table_of(frame, WHERE)
    assert torch.equal(found.probabilities, torch.tensor(P) / torch.tensor(P).sum(dim=1, keepdim=True))
    assert (found.names, found.classes) == (names, classes)


def test_columns_and_rows_of_frames_are_brought_into_one_order():
    frame = pd.DataFrame(np.tile(P, (20, 1)), columns=CLASSES, index=[f"{n}.png" for n in range(60)])
    shuffled = frame[["z", "x", "y"]].sample(frac=1, random_state=0)
    found = dalib.judge_models({"a": frame, "b": shuffled})
    assert found.headline == "Nothing to compare: all models predict the same"


def predictions(known=None):
    architecture = Architecture(backbones=("small",), bottleneck_dim=8, channels=3, size=4)
    description = ModelDescription(architecture, CLASSES, Preprocessing(4, 3), known)
    return Predictions(NAMES, torch.tensor(P, dtype=torch.float32), description)


def test_predictions_of_a_run_are_a_table():
    found = table_of(predictions(), WHERE)
    assert (found.names, found.classes) == (NAMES, CLASSES)
    assert torch.allclose(found.probabilities, torch.tensor(P), atol=1e-6)


def test_numbers_that_are_no_probabilities_are_refused_by_the_argument():
    with pytest.raises(UserError, match=r"models\['a'\]: expected rows of at least 0 that sum to 1"):
        table_of(pd.DataFrame(P * 3, columns=CLASSES), WHERE)


def test_the_frame_of_a_model_that_knows_unknown_images_has_its_classes_alone():
    found = predictions(KnownRule(threshold=1.0, scale=0.01))
    frame = found.to_pandas()
    assert list(frame.columns) == ["path", "label", "confidence", "known", *CLASSES]
    assert set(frame["label"]) == {"unknown"}
    assert table_of(frame, WHERE).classes == CLASSES
    assert repr(found[0]).endswith("known=0.000)")


def shuffled(frame):
    return frame.sample(frac=1, random_state=0)


SIXTY = pd.DataFrame(np.tile(P, (20, 1)), columns=CLASSES)
FEATURES = pd.DataFrame(np.tile(np.eye(3), (20, 1)) + np.linspace(0, 0.1, 60)[:, None])


def test_rows_that_are_counted_beside_the_same_numbers_in_another_order_are_refused():
    named = shuffled(SIXTY)
    with pytest.raises(UserError, match=r"models\['b'\]: its index counts the rows from 0 to 59, and another frame"):
        dalib.judge_models({"a": named, "b": named.sort_index()})
    with pytest.raises(UserError, match=r"^features: its index counts the rows"):
        dalib.judge_models({"a": named, "b": named}, features=FEATURES)
    # arrays have no names, and stand in the order of the frames
    assert dalib.judge_models({"a": named, "b": named.to_numpy()}).outcome == "unclear"


@pytest.mark.parametrize("prefix", ["", "street/"])
def test_features_in_a_frame_are_those_of_the_images_that_its_index_names(prefix):
    named, features = (each.rename(index=lambda row: f"{prefix}{row + 100}") for each in (SIXTY, FEATURES))
    models = {"a": named, "b": named.iloc[:, [1, 0, 2]].set_axis(CLASSES, axis=1)}
    straight = dalib.judge_models(models, features=features.to_numpy())
    assert dalib.judge_models(models, features=shuffled(features)) == straight
    paths = tuple(shuffled(features).index)
    computed = ImageFeatures(paths, torch.tensor(shuffled(features).to_numpy().copy()), "backbone")
    assert dalib.judge_models(models, features=computed) == straight
    elsewhere = features.rename(index=lambda name: f"other-{name}")
    assert dalib.judge_models(models, features=elsewhere) == straight


@pytest.mark.parametrize("number", [0, 1])
def test_columns_that_are_counted_are_classes_beside_the_same_numbers_in_another_order(number):
    counted = SIXTY.set_axis(range(3), axis=1)
    frames = [counted, counted[[2, 0, 1]]]
    found = dalib.judge_models({"a": frames[number], "b": frames[1 - number]})
    assert found.headline == "Nothing to compare: all models predict the same"


def test_validation_in_a_frame_is_read_by_its_columns():
    truth = [CLASSES[each] for each in P.argmax(axis=1).tolist()] * 20
    labelled = SIXTY.assign(label=truth)[["z", "label", "y", "x"]]
    for given in (labelled, (labelled.drop(columns="label"), truth)):
        found = dalib.judge_models({"a": SIXTY, "b": SIXTY}, validation={"a": given})
        assert found["a"].validation_accuracy == 1
    with pytest.raises(UserError, match=r"validation\['a'\]: expected a column label with the true classes, or a pair"):
        dalib.judge_models({"a": SIXTY, "b": SIXTY}, validation={"a": SIXTY})


class OfPolars:
    """A frame with what is used of one of polars: columns, rows, and no index."""

    def __init__(self, frame):
        self.columns, self.rows, self.to_numpy = list(frame.columns), lambda: list(map(tuple, frame.values)), None


def test_a_frame_of_polars_names_its_columns_and_rows():
    found = table_of(OfPolars(pd.DataFrame(P, columns=CLASSES).assign(path=NAMES)), WHERE)
    assert (found.names, found.classes) == (NAMES, CLASSES)
    assert table_of(OfPolars(pd.DataFrame(P, columns=CLASSES)), WHERE).classes == CLASSES


def test_read_only_arrays_as_pandas_gives_them_raise_no_warning():
    given = {name: np.array(values, dtype) for name, values, dtype in (("p", SIXTY, "f8"), ("f", FEATURES, "f4"))}
    for each in given.values():
        each.flags.writeable = False
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # torch warns once a process otherwise
    try:
        dalib.judge_models({"a": given["p"], "b": given["p"]}, features=given["f"])
    finally:
        torch.set_warn_always(before)
