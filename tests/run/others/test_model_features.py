"""Features to judge models by: given ones, and those of the built-in network."""

import importlib.util

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import dalib
from dalib.core.errors import UserError
from dalib.run.features.feature_space import FeatureSpace
from dalib.run.finished.feature_table import write_features
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


def test_a_source_of_other_classes_is_refused_without_a_run(pictures):
    given = GivenFeatures(None, pictures / "target", pictures / "source")
    names = [f"{number:02d}.png" for number in range(40)]
    with pytest.raises(UserError, match=r"^source=.*: the models do not know the class folders 'bee'; their classes"):
        given.representation(torch.arange(40), 40, names, ("ant", "wasp"))


@pytest.mark.parametrize("ending", [".npz", ".parquet", ""])
def test_what_dalib_features_wrote_is_found_by_the_names_of_the_images(ending, tmp_path):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    place = tmp_path / f"features{ending}"
    names, values = [f"{number}.png" for number in range(5)], torch.randn(5, 3)
    write_features(place, [f"street/{name}" for name in names[::-1]], values.flip(0))
    found = GivenFeatures(place, None, None).representation(torch.arange(4), 4, names[:4], ("ant", "bee"))
    assert torch.equal(found.target, values[:4])


@pytest.mark.parametrize("lies_in", ["/elsewhere/street/day", "street/day", "day"])
def test_images_of_a_folder_are_not_taken_for_those_of_the_same_names_above_it(lies_in, tmp_path):
    place, values = tmp_path / "features.npz", torch.arange(8.0).reshape(4, 2)
    there = [f"/data/street/{name}.png" for name in ("1", "2", "day/1", "day/2")]
    write_features(place, there, values)
    names = [f"{lies_in}/{number}.png" for number in (2, 1)]
    found = GivenFeatures(place, None, None).representation(torch.arange(2), 2, names, ("ant", "bee"))
    assert torch.equal(found.target, values[[3, 2]])


def test_columns_of_parquet_are_features_and_labels_of_the_source(tmp_path):
    parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    values = np.arange(6, dtype=np.float64).reshape(3, 2)
    parquet.write_table(
        pyarrow.table({"path": ["a", "b", "c"], "features": values.tolist(), "labels": ["ant", "bee", "ant"]}),
        tmp_path / "source.parquet",
    )
    given = GivenFeatures(np.ones((4, 2)), None, tmp_path / "source.parquet")
    found = given.representation(torch.arange(4), 4, None, ("ant", "bee"))
    assert found.source.tolist() == values.tolist()
    assert found.labels.tolist() == [0, 1, 0]


def test_features_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "table.parquet").write_text("no table")
    cases = [
        ("folder", r"folder'?: expected a file, or a folder that holds features\.npy and names\.npy"),
        ("none.npz", "no such file"),
        ("f.csv", r"expected a file that ends in \.npz, \.npy, \.safetensors, \.parquet, or a folder of arrays"),
    ]
    if importlib.util.find_spec("pyarrow") is not None:
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table({"features": [[1.0, 2.0], [3.0]]}), tmp_path / "ragged.parquet")
        cases += [
            ("none.parquet", "no such file"),
            ("table.parquet", "cannot be read as Parquet"),
            ("ragged.parquet", "expected as many numbers in each row of the column 'features'"),
        ]
    for name, expected in cases:
        with pytest.raises(UserError, match=expected):
            GivenFeatures(tmp_path / name, None, None).representation(torch.arange(2), 2, None, ("ant", "bee"))
