"""`dalib.load`: a model, from wherever it was left, as a function of images."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import dalib
from dalib.core.errors import UserError
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


def test_what_is_no_image_is_told(photo_run, tmp_path):
    predictor = dalib.load(photo_run)
    (tmp_path / "x.png").write_bytes(b"no")
    for image, expected in ((tmp_path / "x.png", "x.png"), (tmp_path / "none.png", "No such file"), (3, "int")):
        with pytest.raises(UserError, match=expected):
            predictor(image)


def test_importing_dalib_does_not_import_torch():
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, dalib; dalib.load; assert 'torch' not in sys.modules; assert 'judge_models' in dir(dalib)",
        ],
        check=True,
    )
