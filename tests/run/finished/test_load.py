"""`dalib.load`: a model, from wherever it was left, as a function of images."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import dalib
from dalib.core.errors import UserError
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.saved import ModelDescription
from dalib.run.finished.load import cells_of, prediction_of
from untrained_runs import CLASSES, make_run, write_photos


@pytest.fixture(scope="module")
def photo_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "photo", "photo").root


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, 2)
    return folder


def test_three_lines_predict_a_photo(photo_run, photos):
    predictor = dalib.load(photo_run)
    prediction = predictor(str(photos / "000.png"))
    assert prediction.label in CLASSES
    assert prediction.confidence == max(prediction.probabilities.values()) == prediction.probabilities[prediction.label]
    assert set(prediction.probabilities) == set(CLASSES)
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_a_path_an_image_and_its_pixels_are_one_image(photo_run, photos):
    predictor = dalib.load(photo_run)
    image = Image.open(photos / "001.png")
    pixels = np.asarray(image)
    expected = predictor(photos / "001.png")
    given = [image, pixels, torch.from_numpy(pixels.copy()).permute(2, 0, 1), pixels / 255]
    assert [each.label for each in predictor(given)] == [expected.label] * 4
    assert [each.confidence for each in predictor(given)] == pytest.approx([expected.confidence] * 4, abs=1e-6)
    assert predictor([]) == []


def test_a_model_that_gives_no_probabilities_predicts_nothing(photos, tmp_path):
    run = make_run(tmp_path / "run", "photo").root
    tensors = load_file(run / "model" / "model.safetensors")
    tensors["head.bias"][0] = torch.inf
    save_file(tensors, run / "model" / "model.safetensors")
    with pytest.raises(UserError, match="run/model: the model gives NaN in place of probabilities"):
        dalib.load(run)(photos / "000.png")
    with pytest.raises(UserError, match="run/model: the model gives NaN in place of probabilities"):
        dalib.open_run(run).predict(photos)


def test_what_is_no_image_is_told(photo_run, tmp_path):
    predictor = dalib.load(photo_run)
    (tmp_path / "x.png").write_bytes(b"no")
    for image, expected in ((tmp_path / "x.png", "x.png"), (tmp_path / "none.png", "No such file"), (3, "int")):
        with pytest.raises(UserError, match=expected):
            predictor(image)


def test_a_batch_a_series_and_an_array_of_paths_are_lists(photo_run, photos):
    predictor = dalib.load(photo_run)
    paths = [str(photos / name) for name in ("000.png", "001.png")]
    expected = predictor(paths)
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    batches = [pixels, pixels / 255, torch.from_numpy(pixels).permute(0, 3, 1, 2)]
    for several in (*batches, pd.Series(paths, index=[7, 3]), np.array(paths), np.array(paths, dtype=object)):
        predictions = predictor(several)
        assert [each.label for each in predictions] == [each.label for each in expected]
        assert [each.confidence for each in predictions] == pytest.approx(
            [each.confidence for each in expected], abs=1e-6
        )


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "expected a path, the bytes of a file, a PIL image, an array or a tensor, got NoneType; .* in a list"),
        (iter(["a.png"]), "got list_iterator; give several images in a list"),
        (np.zeros((3, 8, 8), np.uint8), r"got \(3, 8, 8\); an array is \(H, W, C\), a tensor \(C, H, W\)"),
        (np.full((8, 8), 255.0), "divide values up to 255 by 255"),
        (np.zeros((8, 8), np.int64), "got int64; convert values from 0 to 255 to uint8"),
        (np.full((2, 8, 8, 3), 255.0), "images: .* image 0 has 255 to 255"),
    ],
)
def test_what_a_predictor_refuses_names_a_remedy(photo_run, images, message):
    with pytest.raises(UserError, match=message):
        dalib.load(photo_run)(images)


def test_a_folder_is_no_image(photo_run, photos):
    with pytest.raises(UserError, match="a folder; give the paths of its images in a list"):
        dalib.load(photo_run)(photos)


def test_a_pickled_predictor_opens_the_same_model_again(tmp_path, photos, monkeypatch):
    run = make_run(tmp_path / "photo", "photo").root
    monkeypatch.chdir(tmp_path)
    predictor = dalib.load("photo", model="adapted")
    pickled = pickle.dumps(predictor)
    assert len(pickled) < max(run.rglob("*.safetensors"), key=lambda each: each.stat().st_size).stat().st_size
    monkeypatch.chdir(photos)
    again = pickle.loads(pickled)
    assert (again.name, again.classes) == (predictor.name, predictor.classes)
    assert again("000.png") == predictor("000.png")
    assert copy.deepcopy(predictor)("001.png") == predictor("001.png")


def test_features_are_a_row_for_each_image_and_the_same_from_a_pickle(photo_run, photos):
    predictor = dalib.load(photo_run, device="cpu")
    paths = [photos / "000.png", photos / "001.png"]
    found = predictor.features(paths)
    assert found.shape == (2, predictor.representation(1).width)
    assert found.dtype == torch.float32
    torch.testing.assert_close(predictor.features(paths[1]), found[1:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(predictor.features(Image.open(paths[0])), found[:1], atol=1e-5, rtol=1e-4)
    assert torch.equal(pickle.loads(pickle.dumps(predictor)).features(paths), found)
    assert predictor.features([]).shape == (0, found.shape[1])
    with pytest.raises(UserError, match="No such file"):
        predictor.features(photos / "none.png")


def test_of_equally_probable_classes_a_table_names_those_that_a_prediction_does():
    architecture = Architecture(backbones=("small",), bottleneck_dim=8, channels=3, size=8)
    description = ModelDescription(architecture, tuple("abcdefghij"), Preprocessing(8, 3))
    probabilities = torch.stack([torch.full((10,), 0.1), torch.eye(10)[7]])
    rows = cells_of(["1.png", "2.png"], probabilities, description)
    assert [[row[1], row[3]] for row in rows] == [["a", "b"], ["h", "a"]]
    predicted = [[*prediction_of(each, description).probabilities][:2] for each in probabilities]
    assert [[row[1], row[3]] for row in rows] == predicted


def test_importing_dalib_does_not_import_torch():
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, dalib; dalib.load; assert 'torch' not in sys.modules; assert 'judge_models' in dir(dalib)",
        ],
        check=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="libgomp's setting")
@pytest.mark.parametrize(
    ("given", "spins"), [({}, "10000"), ({"OMP_WAIT_POLICY": "active"}, ""), ({"GOMP_SPINCOUNT": "7"}, "7")]
)
def test_threads_wait_a_little_less_long_unless_somebody_decided(given, spins):
    code = "import os, dalib; print(os.environ.get('GOMP_SPINCOUNT', ''))"
    kept = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**kept, **given}
    )
    assert done.stdout.strip() == spins
