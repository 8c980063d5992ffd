"""Features to judge models by: given ones, and those of the built-in network."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import dalib
from dalib.run.features.feature_space import FeatureSpace
from dalib.run.others.model_features import GivenFeatures
from models_elsewhere import AFTER, BEFORE, FEATURES, write_pictures


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    return write_pictures(tmp_path)


@pytest.mark.parametrize("ending", ["npy", "safetensors"])
def test_features_in_other_files(ending, tmp_path):
    place = tmp_path / f"f.{ending}"
    if ending == "npy":
        np.save(place, FEATURES)
    else:
        save_file({"features": FEATURES.astype(np.float32)}, place)
    assert dalib.judge_models({"a": BEFORE, "b": AFTER}, features=place).best == "b"


def test_features_are_computed_of_the_images_that_judge_alone(pictures, monkeypatch):
    names, computed = [f"{number:02d}.png" for number in range(40)][::-1], []
    plain = FeatureSpace.plain
    monkeypatch.setattr(
        FeatureSpace, "plain", lambda space, rows, *more: computed.append(len(rows)) or plain(space, rows, *more)
    )
    given = GivenFeatures(None, pictures / "target", pictures / "source")
    everything = given.representation(torch.arange(40), 40, names, ("ant", "bee"))
    rows = torch.tensor([7, 1, 30])
    some = given.representation(rows, 40, names, ("ant", "bee"))
    torch.testing.assert_close(some.target, everything.target[rows], rtol=0.01, atol=0.01)
    assert computed == [40, 24, 3, 24]
