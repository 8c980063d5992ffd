"""Features for files and objects in Python: a row for each image, and a reason for each that cannot be read."""

import numpy as np
import pytest
import torch
from PIL import Image

import dalib
from dalib.core.errors import UserError
from dalib.core.files import Unreadable, write_json
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.network import make_classifier
from dalib.models.saved import ModelDescription, save_model
from dalib.run.finished.features import features
from dalib.run.finished.image_features import ImageFeatures, features_of_images
from dalib.run.finished.load import load

COUNT = 9


@pytest.fixture
def made(tmp_path):
    """The folder of a run of one model."""
    architecture = Architecture(backbones=("small",), bottleneck_dim=6, channels=3, size=8)
    torch.manual_seed(0)
    description = ModelDescription(architecture, ("a", "b"), Preprocessing(8, 3))
    save_model(tmp_path / "run" / "model", make_classifier(architecture, 2), description)
    (tmp_path / "run" / "config.yaml").write_text("")
    write_json(tmp_path / "run" / "summary.json", {"method": "self-ensemble"})
    return tmp_path / "run"


@pytest.fixture
def images(tmp_path):
    folder, rng = tmp_path / "images", np.random.default_rng(0)
    folder.mkdir()
    for number in range(COUNT):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"no image")
    return folder


def pixels(images):
    return np.stack([np.asarray(Image.open(path)) for path in sorted(images.glob("[0-9]*.png"))])


def test_a_folder_has_a_row_for_each_readable_image_and_progress(made, images):
    calls = []
    found = features_of_images(images, load(made, device="cpu"), lambda *call: calls.append(call))
    assert found.paths == tuple(str(images / f"{number}.png") for number in range(COUNT))
    assert found.features.shape == (len(found), 6) == (COUNT, 6)
    assert found.features.dtype == torch.float32
    assert [each.path for each in found.unreadable] == [str(images / "broken.png")]
    assert calls[-1] == (COUNT + 1, COUNT + 1)


def test_objects_have_the_features_of_their_files(made, images):
    loaded = load(made, device="cpu")
    found = features_of_images(pixels(images), loaded, lambda *_: None)
    assert found.paths[:2] == ("array/0", "array/1")
    expected = features_of_images(images, loaded, lambda *_: None).features
    torch.testing.assert_close(found.features, expected, atol=1e-6, rtol=1e-5)


def test_a_run_gives_features_and_writes_what_the_command_writes(made, images, tmp_path, capsys):
    run = dalib.open_run(made)
    found = run.features(images, out=tmp_path / "f.npz", device="cpu")
    assert isinstance(found, dalib.ImageFeatures)
    assert "broken.png" in capsys.readouterr().out
    features(made, str(images), str(tmp_path / "command.npz"), device="cpu")
    with np.load(tmp_path / "f.npz") as own, np.load(tmp_path / "command.npz") as command:
        assert own["names"].tolist() == command["names"].tolist() == list(found.paths)
        np.testing.assert_allclose(own["features"], command["features"], atol=1e-6, rtol=1e-5)
        assert np.array_equal(own["features"], found.features.numpy())
    (tmp_path / "notes.npz").write_text("of yesterday")
    with pytest.raises(UserError, match="there is a file already"):
        run.features(images, out=tmp_path / "notes.npz")


def test_images_of_which_none_can_be_read_write_nothing(made, tmp_path):
    (tmp_path / "one.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"none of the images can be read \(for instance .*one\.png: not an image"):
        dalib.open_run(made).features([tmp_path / "one.png"], out=tmp_path / "f.npz")
    assert not (tmp_path / "f.npz").exists()
    assert dalib.open_run(made).features([tmp_path / "one.png"]).features.shape == (0, 6)


def test_features_show_their_number_their_width_and_what_they_are():
    found = ImageFeatures(("a", "b"), torch.zeros(2, 6), "backbone resnet18", (Unreadable("c", "no image"),))
    assert repr(found) == "<ImageFeatures: 2 images, 1 unreadable; 6 each, backbone resnet18>"
