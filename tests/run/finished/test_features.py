"""`dalib features` writes a vector for each image, alone or by several processes, also after a kill."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dalib.core.errors import UserError
from dalib.core.files import write_json
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.network import load_classifier, make_classifier
from dalib.models.saved import ModelDescription, save_model
from dalib.records.folder import RunFolder
from dalib.run.finished import features as computing
from dalib.run.finished.features import features, features_of_backbone
from dalib.run.finished.load import load

COUNT, BATCH, BROKEN = 23, 4, (5, 6, 17)
FORKED_RANKS = Path(__file__).parents[2] / "forked_ranks.py"


def make_run(folder, seed=0):
    architecture = Architecture(backbones=("small",), bottleneck_dim=8, channels=3, size=8)
    for number, name in enumerate(("model", "source-only/model")):
        torch.manual_seed(seed + number)
        description = ModelDescription(architecture, ("a", "b", "c"), Preprocessing(8, 3))
        save_model(folder / name, make_classifier(architecture, 3), description)
    (folder / "config.yaml").write_text("")
    write_json(folder / "summary.json", {"method": "self-ensemble"})
    return RunFolder.existing(folder)


@pytest.fixture
def found(tmp_path):
    return make_run(tmp_path / "run")


@pytest.fixture
def images(tmp_path):
    folder, rng = tmp_path / "images", np.random.default_rng(0)
    folder.mkdir()
    for number in range(COUNT):
        path = folder / f'{number:02d}, "x"\n.png'
        Image.fromarray(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(path)
        if number in BROKEN:
            path.write_bytes(b"not an image")
    return folder


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(computing, "BATCH", BATCH)


@pytest.fixture
def whole(found, images, tmp_path):
    """What a command that is never stopped writes."""
    features(found, str(images), str(tmp_path / "whole.npz"), device="cpu")
    return (tmp_path / "whole.npz").read_bytes()


def arrays_in(place):
    with np.load(place, allow_pickle=False) as arrays:
        return arrays["names"].tolist(), arrays["features"]


def left(out):
    return sorted(path.name for path in out.parent.iterdir() if path.name.startswith(out.name))


def readable(images):
    return [path for number, path in enumerate(sorted(images.iterdir())) if number not in BROKEN]


def test_every_readable_image_has_the_input_of_the_classifier_in_order(found, whole, images, tmp_path, capsys):
    names, values = arrays_in(tmp_path / "whole.npz")
    assert names == [str(path) for path in readable(images)]
    network, description = load_classifier(found.model)
    rows = np.stack([np.asarray(description.preprocessing.pixels(Image.open(path))) for path in readable(images)])
    with torch.no_grad():
        pooled = network.pool_layer(network.backbone(description.preprocessing.normalize(torch.from_numpy(rows))))
        expected = network.before_head(pooled).numpy()
    assert values.shape == (COUNT - len(BROKEN), 8)
    np.testing.assert_allclose(values, expected, atol=1e-5, rtol=1e-4)
    assert left(tmp_path / "whole.npz") == ["whole.npz"]
    features(found, str(images), str(tmp_path / "again.npz"), device="cpu")
    told = capsys.readouterr().out
    assert "8 features of each image" in told
    assert "input of the classifier of small" in told
    assert "skipped 3 images" in told
    assert (tmp_path / "again.npz").read_bytes() == whole


def test_each_model_of_a_run_has_its_own(found, images, whole, tmp_path):
    out = tmp_path / "source-only.npz"
    assert features(found, str(images), str(out), model="source-only", device="cpu") == COUNT - len(BROKEN)
    names, values = arrays_in(out)
    assert names == arrays_in(tmp_path / "whole.npz")[0]
    assert not np.allclose(values, arrays_in(tmp_path / "whole.npz")[1])
    with pytest.raises(UserError, match="model='best': this run has"):
        features(found, str(images), str(tmp_path / "none.npz"), model="best")
    assert not left(tmp_path / "none.npz")


@pytest.mark.parametrize("ending", [".parquet", ""])
def test_other_files_hold_the_same(ending, found, images, whole, tmp_path):
    names, values = arrays_in(tmp_path / "whole.npz")
    out = tmp_path / f"street{ending}"
    if ending:
        parquet = pytest.importorskip("pyarrow.parquet")
    features(found, str(images), str(out), device="cpu")
    if ending:
        table = parquet.read_table(out)
        assert table.column("path").to_pylist() == names
        others = np.array(table.column("features").to_pylist(), np.float32)
    else:
        assert np.load(out / "names.npy").tolist() == names
        others = np.load(out / "features.npy")
    assert np.array_equal(others, values)
    assert left(out) == [out.name]


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_a_cache_changes_rounding_alone(cache, found, images, whole, tmp_path):
    features(found, str(images), str(tmp_path / "f.npz"), cache=cache, device="cpu")
    (names, values), (wanted, expected) = arrays_in(tmp_path / "f.npz"), arrays_in(tmp_path / "whole.npz")
    assert names == wanted
    np.testing.assert_allclose(values, expected, atol=1e-5, rtol=1e-4)  # other batches


@pytest.mark.parametrize("ending", [".npz", ""])
def test_a_stopped_command_goes_on_to_the_same_features(ending, found, images, whole, tmp_path, monkeypatch, capsys):
    out, rows, calls = tmp_path / f"f{ending}", computing.FeatureFormat.rows, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return rows(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(computing.FeatureFormat, "rows", stopping)
        with pytest.raises(KeyboardInterrupt):
            features(found, str(images), str(out), device="cpu")
    assert left(out) == [f"f{ending}.part", f"f{ending}.part.json"]
    with pytest.raises(UserError, match="holds 10 features of other images or of another model"):
        features(found, str(images), str(out), model="source-only", device="cpu")
    features(found, str(images), str(out), device="cpu")
    assert f"going on after {3 * BATCH} of {COUNT} images" in capsys.readouterr().out
    assert left(out) == [out.name]
    if ending:
        assert out.read_bytes() == whole
    else:
        assert np.array_equal(np.load(out / "features.npy"), arrays_in(tmp_path / "whole.npz")[1])


def test_bad_input_is_named_and_leaves_nothing(found, images, tmp_path):
    out = tmp_path / "f.npz"
    with pytest.raises(UserError, match=r"nowhere'?: no such folder"):
        features(found, f"{tmp_path}/nowhere", str(out))
    with pytest.raises(UserError, match=r"f\.csv': expected a name that ends in \.npz"):
        features(found, str(images), str(tmp_path / "f.csv"))
    with pytest.raises(UserError, match=r"(?s)05.*leave out strict"):
        features(found, str(images), str(tmp_path / "strict.npz"), strict=True)
    with pytest.raises(UserError, match="images: expected a path, got list"):
        features(found, [str(images)], str(out))
    for path in readable(images):
        path.unlink()
    with pytest.raises(UserError, match="none of its 3 images can be read"):
        features(found, str(images), str(out))
    assert not left(out)


def test_an_exported_folder_gives_what_the_run_gives_and_a_graph_is_refused(found, images, whole, tmp_path):
    exported = shutil.copytree(found.model, tmp_path / "exported")
    features(exported, str(images), str(tmp_path / "f.npz"), device="cpu")
    assert (tmp_path / "f.npz").read_bytes() == whole
    from dalib.run.export import export

    export(found, "torch-export", str(tmp_path / "model.pt2"))
    with pytest.raises(
        UserError, match=r"model\.pt2'?: an exported graph gives probabilities alone; expected the folder"
    ):
        features(tmp_path / "model.pt2", str(images), str(tmp_path / "g.npz"))
    with pytest.raises(UserError, match="an exported graph gives probabilities alone"):
        load(tmp_path / "model.pt2").features(readable(images)[0])


def test_a_backbone_without_a_run_gives_its_output(tmp_path):
    from safetensors.torch import save_file

    from dalib.models.pretrained import PretrainedBackbone

    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    torch.manual_seed(0)
    weights = tmp_path / "own.safetensors"
    save_file(PretrainedBackbone("test_resnet").network.state_dict(), weights)
    out = tmp_path / "f.npz"
    assert features_of_backbone("test_resnet", str(folder), str(out), weights=str(weights), device="cpu") == 3
    names, values = arrays_in(out)
    assert names == [str(folder / f"{number}.png") for number in range(3)]
    assert values.shape == (3, 96)
    with pytest.raises(UserError, match="weights: expected pretrained ones"):
        features_of_backbone("test_resnet", str(folder), str(tmp_path / "g.npz"))
    assert not left(tmp_path / "g.npz")


STOPPED = """
import os, signal, sys
from dalib.commands.main import run
from dalib.run.finished import features as computing
from dalib.run.finished import resumable_table

computing.BATCH, resumable_table._KEEP_SECONDS = 4, 0.0
rows, calls = computing.FeatureFormat.rows, []

def counted(*arguments):
    calls.append(1)
    if os.environ["RANK"] == sys.argv[1] and len(calls) > 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return rows(*arguments)

computing.FeatureFormat.rows = counted
sys.exit(run(sys.argv[2:]))
"""


def by_two(program, killed, *arguments):
    """Two processes run a program under torchrun's agent; one of them is killed after two batches."""
    launch = [sys.executable, FORKED_RANKS, program, killed]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([*launch, *arguments], capture_output=True, text=True, timeout=200, env=environment)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_two_processes_write_what_one_writes_to_the_bit_also_after_one_was_killed(found, images, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as torchrun's processes have: another number changes the last bits
    try:
        features(found, str(images), str(tmp_path / "whole.npz"), device="cpu")
    finally:
        torch.set_num_threads(threads)
    program, out = tmp_path / "stopped.py", tmp_path / "out.npz"
    program.write_text(STOPPED)
    command = ("features", str(found.root), "--images", str(images), "--out", str(out), "--device", "cpu")
    assert by_two(program, "1", *command).returncode != 0
    assert not out.exists()
    with pytest.raises(UserError, match=r"part-1-of-2.json is what 2 of torchrun's processes left"):
        features(found, str(images), str(out), device="cpu")
    resumed = by_two(program, "none", *command)
    assert resumed.returncode == 0, resumed.stderr
    assert out.read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert resumed.stdout.count("features of 20 images in") == 1
    assert left(out) == ["out.npz"]
