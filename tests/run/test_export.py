"""What `dalib export` writes predicts as the run does, opens without dalib, and is whole or not there."""

import contextlib
import csv
import errno
import io
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import dalib
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.models.pretrained import PretrainedBackbone
from dalib.run import export as exporting
from dalib.run.export import export
from dalib.run.finished.load import open_model
from untrained_runs import CLASSES, KINDS, make_run, write_deep_photos, write_photos


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return {kind: make_run(root / kind, kind) for kind in KINDS}


@pytest.fixture(autouse=True, scope="module")
def each_network_is_traced_once():
    """Both forms of a graph are written of the same trace, which takes up to half of the time."""
    made, traced = {}, exporting.traced

    def traced_once(predictor, preprocessing):
        plain = (bool, int, float, str, tuple, list)
        parts = [
            (name, type(part), sorted((key, str(each)) for key, each in vars(part).items() if isinstance(each, plain)))
            for name, part in predictor.named_modules()
        ]
        tensors = {name: each.numpy().tobytes() for name, each in predictor.state_dict().items()}
        key = (preprocessing, repr(parts), *sorted(tensors.items()))
        if key not in made:
            made[key] = traced(predictor, preprocessing)
        return made[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exporting, "traced", traced_once)
        yield


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, 6)
    return folder


def name_of(form):
    return {"onnx": "model.onnx", "torch-export": "model.pt2"}.get(form, "model")


@pytest.fixture(scope="module")
def exported(runs, tmp_path_factory):
    """Exports a kind of run to a format by the command line, once; returns the path and what was printed."""
    done = {}

    def exported_of(kind, form):
        if (kind, form) not in done:
            out, printed = tmp_path_factory.mktemp("exported") / name_of(form), io.StringIO()
            with contextlib.redirect_stdout(printed):
                assert run(["export", str(runs[kind].root), "--format", form, "--out", str(out)]) == 0
            assert [path.name for path in out.parent.iterdir()] == [out.name]
            done[kind, form] = out, printed.getvalue()
        return done[kind, form]

    return exported_of


def table(place, photos, out):
    assert run(["predict", str(place), "--images", str(photos), "--out", str(out)]) == 0
    return list(csv.reader(out.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["onnx", "torch-export", "torch", "hf"])
def test_an_export_predicts_as_the_run_for_any_batch_and_the_difference_is_printed(
    form, kind, runs, photos, tmp_path, exported
):
    if form == "hf" and kind.startswith("small"):
        pytest.skip("refused, see below")
    out, printed = exported(kind, form)
    assert "largest difference from PyTorch" in printed
    original, opened = open_model(runs[kind].root), open_model(out)
    assert opened.description == original.description
    size, channels = original.description.preprocessing.size, original.description.preprocessing.channels
    for count in (1, 2, 5):
        images = torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)
        expected = original.probabilities(images)
        torch.testing.assert_close(opened.probabilities(images), expected, rtol=0, atol=1e-5)
        assert expected.std() > 0.01, "a check of equal shares would say little"
    rows = table(out, photos, tmp_path / "exported.csv")
    expected = table(runs[kind].root, photos, tmp_path / "run.csv")
    assert [(row[0], row[1], row[3]) for row in rows] == [(row[0], row[1], row[3]) for row in expected]
    for row, other in zip(rows[1:], expected[1:], strict=True):
        assert float(row[2]) == pytest.approx(float(other[2]), abs=1.01e-4)


def test_an_onnx_file_alone_says_what_it_takes(exported):
    onnxruntime = pytest.importorskip("onnxruntime")
    file, _ = exported("photo", "onnx")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    content = json.loads(session.get_modelmeta().custom_metadata_map["dalib"])
    assert content["classes"] == list(CLASSES)
    assert content["preprocessing"]["size"] == 37
    assert content["preprocessing"]["fit"] == "crop"
    (given,), (found,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == ("images", "tensor(uint8)", [3, 37, 37])
    assert (found.name, found.type) == ("probabilities", "tensor(float)")
    assert isinstance(given.shape[0], str), "any number of images"


@pytest.mark.parametrize("form", ["onnx", "torch-export", "torch", "hf"])
def test_images_of_12_bits_are_the_same_to_an_export(form, runs, exported, tmp_path):
    write_deep_photos(tmp_path / "deep", 3)
    out, _ = exported("photo-12-bits", form)
    assert open_model(out).description.preprocessing.range == (0, 4095)
    rows = table(out, tmp_path / "deep", tmp_path / "exported.csv")
    expected = table(runs["photo-12-bits"].root, tmp_path / "deep", tmp_path / "run.csv")
    assert len(rows) == len(expected) == 4
    for row, other in zip(rows[1:], expected[1:], strict=True):
        assert (row[0], row[1], row[3]) == (other[0], other[1], other[3])
        assert float(row[2]) == pytest.approx(float(other[2]), abs=1.01e-4)


def test_a_program_opens_with_torch_alone(exported):
    file, _ = exported("photo-views", "torch-export")
    program = (
        "import sys, torch\n"
        "images = torch.zeros(3, 3, 37, 37, dtype=torch.uint8)\n"
        "extra = {'dalib': ''}\n"
        "found = torch.export.load(sys.argv[1], extra_files=extra).module()(images)\n"
        "assert found.shape == (3, 3) and 'blue' in extra['dalib'] and 'dalib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program, str(file)], check=True)


def test_plain_weights_are_the_runs_own(runs, exported):
    folder, _ = exported("small", "torch")
    first, second = (load_file(each / "model.safetensors") for each in (folder, runs["small"].model))
    assert all(torch.equal(first[name], second[name]) for name in first | second)
    assert "dalib.load" in (folder / "README.md").read_text(encoding="utf-8")


def test_the_other_model_of_a_run_can_be_exported(runs, tmp_path):
    both = make_run(tmp_path / "run", "small")
    other = make_run(tmp_path / "other", "small-views")
    (tmp_path / "run" / "source-only").mkdir()
    other.model.rename(both.source_only.model)
    export(both, "torch", tmp_path / "m", model="source-only")
    assert open_model(tmp_path / "m").description.architecture.backbones == ("digits",)
    with pytest.raises(UserError, match="this run has adapted, source-only"):
        export(both, "torch", tmp_path / "n", model="best")


# what is refused leaves nothing


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--format", "onnx", "--out", "model.bin"], "ends in .onnx"),
        (["--format", "torch-export", "--out", "model.onnx"], "ends in .pt2"),
        (["--format", "torch", "--out", "model.onnx"], "is a folder"),
        (["--format", "torch", "--out", "model.PTH"], "is a folder with model.safetensors and config.json in it"),
        (["--format", "onnx", "--out", "there.onnx/model.onnx"], "its folder cannot be made"),
        (["--format", "onnx", "--out", "there.onnx"], "there is something already"),
        (["--format", "hf", "--out", "there"], "there is something already"),
        (["--format", "hf", "--out", "model"], "not one of timm's"),
        (["--format", "tflite", "--out", "model"], "tflite"),
        (["--format", "onnx", "--out", "model.onnx", "--model", "best"], "this run has adapted"),
    ],
)
def test_what_cannot_be_written_is_told_and_leaves_nothing(arguments, expected, runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").write_text("mine")
    (tmp_path / "there").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert run(["export", str(runs["small"].root), *arguments]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "there.onnx").read_text() == "mine"


@pytest.mark.parametrize("form", ["onnx", "torch-export", "torch", "hf"])
def test_a_file_that_predicts_otherwise_is_not_left(form, runs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        exporting, "predict_probabilities", lambda network, images, *_, **__: torch.zeros(len(images), 3)
    )
    with pytest.raises(UserError, match="differ from PyTorch's by up to"):
        export(runs["photo"], form, tmp_path / name_of(form))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("form", "writer"), [("onnx", "write_onnx"), ("torch-export", "write_program")])
def test_a_full_disk_is_no_network_that_cannot_be_exported(form, writer, runs, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, writer, full)
    monkeypatch.setattr(exporting, "traced", lambda *_: None)
    with pytest.raises(UserError, match=r"out=.*: cannot be written \(No space left on device\); make room"):
        export(runs["small"], form, tmp_path / name_of(form))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["onnx", "torch-export"])
def test_a_head_that_is_not_its_own_is_found_in_a_network_that_is_sure_of_everything(form, tmp_path, monkeypatch):
    sure = make_run(tmp_path / "run", "small")
    weights = load_file(sure.model / "model.safetensors")
    weights["head.weight"].mul_(4)
    weights["head.bias"].copy_(torch.tensor([0.0, 60.0, -20.0]))
    save_file(weights, sure.model / "model.safetensors")
    export(sure, form, tmp_path / f"right-{name_of(form)}")
    ready = exporting.ready_to_trace

    def with_another_bias(model, preprocessing):
        made = ready(model, preprocessing)
        made.head.bias.data[0] += 1
        return made

    monkeypatch.setattr(exporting, "ready_to_trace", with_another_bias)
    with pytest.raises(UserError, match="the logits differ from PyTorch's by up to"):
        export(sure, form, tmp_path / name_of(form))
    assert not (tmp_path / name_of(form)).exists()
    monkeypatch.setattr(exporting, "TOLERANCE", 1.0)
    export(sure, form, tmp_path / name_of(form))
    images = torch.randint(0, 256, (4, 1, 16, 16), dtype=torch.uint8)
    right, wrong = (
        open_model(tmp_path / each).probabilities(images) for each in (f"right-{name_of(form)}", name_of(form))
    )
    assert (right - wrong).abs().max() < 1e-4, "a comparison of probabilities would find nothing"


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_extra_is_named(package, runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"{package} is not installed; pip install .*{package}"):
        export(runs["small"], "onnx", tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["m.onnx", "m.pt2"])
def test_a_damaged_file_is_told(name, photos, tmp_path, capsys):
    (tmp_path / name).write_bytes(b"not a model")
    command = ["predict", str(tmp_path / name), "--images", str(photos), "--out", str(tmp_path / "p.csv")]
    assert run(command) == 2
    assert f"{name}: not a" in capsys.readouterr().err
    assert run(["predict", str(tmp_path / f"no-{name}"), *command[2:]]) == 2
    assert "no such file" in capsys.readouterr().err


def test_one_model_has_no_other(exported):
    folder, _ = exported("small", "torch")
    with pytest.raises(UserError, match="leave out model"):
        open_model(folder, model="adapted")


@pytest.mark.parametrize("backbone", ["small", "test_resnet"])
def test_a_trained_run_is_exported(backbone, tmp_path):
    """Of timm's backbone: trained on stored features, and saved as a whole network."""
    for domain in ("source/a", "source/b", "target"):
        write_photos(tmp_path / domain, 6)
    settings = ["--data.size", "32", "--steps", "2", "--batch", "4", "--method", "source-only"]
    if backbone != "small":
        network = PretrainedBackbone(backbone).network
        save_file({name: each.contiguous() for name, each in network.state_dict().items()}, tmp_path / "w.safetensors")
        settings += ["--backbone", backbone, "--weights", str(tmp_path / "w.safetensors")]
    where = ["--source", f"{tmp_path}/source", "--target", f"{tmp_path}/target", "--out", f"{tmp_path}/run"]
    assert run(["train", *where, *settings]) == 0
    assert run(["export", f"{tmp_path}/run", "--format", "onnx", "--out", f"{tmp_path}/m.onnx"]) == 0
    photo = tmp_path / "target" / "000.png"
    first, second = (dalib.load(tmp_path / name)(photo).probabilities for name in ("run", "m.onnx"))
    assert [second[name] for name in first] == pytest.approx(list(first.values()), abs=1e-5)
