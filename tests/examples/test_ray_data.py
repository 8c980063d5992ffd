"""The recipe with Ray Data: several workers write what `dalib predict` writes, also after a kill."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.network import make_classifier
from dalib.models.saved import ModelDescription, save_model
from dalib.run.finished.predict import predict

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_data" / "predict.py"


@pytest.fixture(scope="module")
def ray_recipe():
    ray = pytest.importorskip("ray")
    spec = importlib.util.spec_from_file_location("ray_recipe", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["ray_recipe"] = module
    spec.loader.exec_module(module)
    ray.cloudpickle.register_pickle_by_value(module)  # it is no module that workers can import
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield module
    ray.shutdown()
    del sys.modules["ray_recipe"]


@pytest.fixture
def model(tmp_path):
    architecture = Architecture(backbones=("small",), bottleneck_dim=8, channels=3, size=8)
    torch.manual_seed(0)
    network = make_classifier(architecture, 3)
    torch.nn.init.normal_(network.head.weight, std=3.0)
    save_model(tmp_path / "model", network, ModelDescription(architecture, ("a", "b", "c"), Preprocessing(8, 3)))
    return tmp_path / "model"


@pytest.fixture
def images(tmp_path):
    folder, rng = tmp_path / "images", np.random.default_rng(0)
    folder.mkdir()
    for number in range(150):
        Image.fromarray(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(folder / f"{number:03d}.png")
    (folder / "070.png").write_bytes(b"not an image")
    return folder


@pytest.mark.filterwarnings("ignore")  # of Ray
def test_two_workers_write_what_predict_writes_also_after_a_kill(ray_recipe, model, images, tmp_path):
    predict(model, str(images), str(tmp_path / "whole.csv"))
    whole = (tmp_path / "whole.csv").read_bytes()
    assert ray_recipe.predict(str(model), str(images), str(tmp_path / "ray.csv"), workers=2) == 149
    assert (tmp_path / "ray.csv").read_bytes() == whole
    lines = whole.splitlines(keepends=True)
    (tmp_path / "resumed.csv.part").write_bytes(b"".join([*lines[100:120], *lines[5:30], lines[30][:-7]]))
    assert ray_recipe.predict(str(model), str(images), str(tmp_path / "resumed.csv"), workers=2) == 149
    assert (tmp_path / "resumed.csv").read_bytes() == whole
    assert not (tmp_path / "resumed.csv.part").exists()
