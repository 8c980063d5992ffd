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
