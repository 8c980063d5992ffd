"""What `dalib export` writes predicts as the run does, opens without dalib, and is whole or not there."""

import contextlib
import csv
import io
import json
import shutil
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import dalib
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.core.files import write_json
from dalib.data.preprocessing import Preprocessing
from dalib.models.pretrained import PretrainedBackbone
from dalib.models.saved import ModelDescription, save_model
from dalib.records.folder import RunFolder
from dalib.run import export as exporting
from dalib.run import recipe
from dalib.run.export import export
from dalib.run.load import open_model

CLASSES = ("blue", "green", 'Größe, "L"')
PHOTO = {"pretrained": True, "frozen_stages": 0, "frozen_norms": False, "checkpointing": False, "features": True}
NORMALISED = {"mean": (0.5, 0.4, 0.5), "std": (0.2, 0.25, 0.2)}
KINDS = {
    "small": ({"backbone": "small", "bottleneck_dim": 8}, Preprocessing(16, 1, fit="ink")),
    "small-views": ({"backbone": "digits", "bottleneck_dim": 8, "averaged_views": 3}, Preprocessing(16, 3)),
    "photo": (
        {"backbone": "test_resnet", "bottleneck_dim": 16, "standardize": True, "dropout": 0.5, **PHOTO},
        Preprocessing(37, 3, crop=32, interpolation="bicubic", **NORMALISED),
    ),
    "photo-views": (
        {"backbone": "test_efficientnet", "bottleneck_dim": 16, "averaged_views": 2, "bottleneck_norm": False, **PHOTO},
        Preprocessing(37, 3, crop=32, fit="stretch", **NORMALISED),
    ),
    "photo-plain": (
        {"backbone": "test_vit", "bottleneck_dim": None, **PHOTO},
        Preprocessing(32, 1, mean=(0.5,), std=(0.2,)),
    ),
    "photo-several": (
        {
            "backbone": ["test_efficientnet", "test_resnet"],
            "inputs": [
                {"size": 24, "mean": [0.4, 0.4, 0.4], "std": [0.25, 0.2, 0.25]},
                {"size": 32, "mean": list(NORMALISED["mean"]), "std": list(NORMALISED["std"])},
            ],
            "bottleneck_dim": 16,
            "averaged_views": 2,
            "standardize": True,
            **PHOTO,
        },
        Preprocessing(37, 3, crop=32, fit="stretch", **NORMALISED),
    ),
    "photo-12-bits": (
        {"backbone": "test_resnet", "bottleneck_dim": None, **PHOTO},
        Preprocessing(32, 3, range=(0, 4095), **NORMALISED),
    ),
}


def make_run(folder, kind, classes=CLASSES):
    """A run with an untrained model whose statistics and probabilities are not those of a fresh network."""
    settings, preprocessing = KINDS[kind]
    architecture = {
        "averaged_views": 0,
        "channels": preprocessing.channels,
        "size": preprocessing.input_size,
        **settings,
    }
    torch.manual_seed(0)
    network = recipe.make_classifier(architecture, len(classes))
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    torch.nn.init.normal_(network.head.weight, std=1.0)
    if architecture.get("standardize"):
        width = len(network.feature_mean)
        network.set_feature_statistics(torch.randn(width) * 0.1, torch.rand(width) + 0.5)
    save_model(folder / "model", network, ModelDescription(architecture, classes, preprocessing))
    (folder / "config.yaml").write_text("")
    write_json(folder / "summary.json", {"method": "self-ensemble"})
    return RunFolder.existing(folder)


def write_photos(folder, count, size=(44, 36)):
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        colours = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
        colours.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number:03d}.png")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return {kind: make_run(root / kind, kind) for kind in KINDS}


def write_deep_photos(folder, count):
    """Grey PNGs of 12 bits, which PIL opens as 16."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        values = rng.integers(0, 4096, (9, 11)).astype(np.uint16).repeat(4, axis=0).repeat(4, axis=1)
        Image.fromarray(values).save(folder / f"{number:03d}.png")


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


ONE_AFTER_ANOTHER = """
import contextlib, io, json, os, sys, traceback
for folder, program in json.load(sys.stdin):
    os.chdir(folder)
    code, said, told = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
        try:
            exec(compile(program, "program", "exec"), {"__name__": "__main__"})
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
            print(stop.code, file=sys.stderr)
        except BaseException:
            code = 1
            traceback.print_exc()
    print(json.dumps([code, said.getvalue(), told.getvalue()]), flush=True)
assert "dalib" not in sys.modules
"""
"""Runs programs in fresh name spaces of one process, which imports torch and timm once for all of them."""


@pytest.fixture(scope="module")
def by_the_readme(exported, photos, tmp_path_factory):
    """Returns the exit code, output and errors of the README's program by kind and name of the image."""
    deep = tmp_path_factory.mktemp("deep")
    write_deep_photos(deep, 1)
    write_png_of_16_bits(deep / "colours.png", np.full((4, 5, 3), 2000, ">u2"))
    grey, colours, photo = deep / "000.png", deep / "colours.png", photos / "003.png"
    given = {(kind, "photo"): photo for kind in ("photo", "photo-views", "photo-plain", "photo-several")}
    given |= {("photo-12-bits", "grey"): grey, ("photo-plain", "grey"): grey, ("photo-12-bits", "colours"): colours}
    programs = []
    for (kind, _), image in given.items():
        folder, _ = exported(kind, "hf")
        program = (folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
        assert "photo.jpg" in program
        programs.append((str(folder), program.replace("photo.jpg", str(image))))
    command = [sys.executable, "-c", ONE_AFTER_ANOTHER]
    done = subprocess.run(command, input=json.dumps(programs), capture_output=True, text=True, check=True)
    return {each: (*json.loads(line), given[each]) for each, line in zip(given, done.stdout.splitlines(), strict=True)}


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("photo", "photo"),
        ("photo-views", "photo"),
        ("photo-plain", "photo"),
        ("photo-several", "photo"),
        ("photo-12-bits", "grey"),
    ],
)
def test_the_program_in_the_readme_predicts_without_dalib(kind, image, runs, by_the_readme):
    code, said, told, photo = by_the_readme[kind, image]
    assert code == 0, told
    found, expected = json.loads(said), dalib.load(runs[kind].root)(photo).probabilities
    assert found.keys() == expected.keys()
    assert [found[name] for name in expected] == pytest.approx(list(expected.values()), abs=1e-5)


def test_the_program_in_the_readme_refuses_what_pillow_alone_reads_wrongly(by_the_readme):
    code, _, told, _ = by_the_readme["photo-plain", "grey"]
    assert code == 1
    assert "more than 8 bits, and the model has seen no such image" in told
    code, _, told, _ = by_the_readme["photo-12-bits", "colours"]
    assert code == 1
    assert "colours of 16 bits, of which Pillow reads the upper 8" in told


def write_png_of_16_bits(file, values):
    """PIL writes no colours of 16 bits."""
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    file.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
            for name, content in chunks
        )
    )


@pytest.mark.parametrize("kind", ["photo", "photo-views", "photo-plain"])
def test_timm_opens_the_folder(kind, runs, exported):
    import timm

    folder, _ = exported(kind, "hf")
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    original, _ = recipe.load_model(runs[kind].root / "model")
    settings, preprocessing = KINDS[kind]
    images = torch.rand(2, preprocessing.channels, preprocessing.input_size, preprocessing.input_size)
    whole = settings["bottleneck_dim"] is None
    assert whole != (folder / "head.safetensors").is_file()
    with torch.no_grad():
        expected = original(images) if whole else getattr(original, "model", original).backbone(images)
        torch.testing.assert_close(network(images), expected)
    data = timm.data.resolve_model_data_config(network)
    assert tuple(data["input_size"]) == (preprocessing.channels, preprocessing.input_size, preprocessing.input_size)
    assert tuple(data["mean"]) == preprocessing.mean
    assert network.pretrained_cfg["label_names"] == list(CLASSES)


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
    assert open_model(tmp_path / "m").description.architecture["backbone"] == "digits"
    with pytest.raises(UserError, match="this run has adapted, source-only"):
        export(both, "torch", tmp_path / "n", model="best")


# what is refused leaves nothing


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--format", "onnx", "--out", "model.bin"], "ends in .onnx"),
        (["--format", "torch-export", "--out", "model.onnx"], "ends in .pt2"),
        (["--format", "torch", "--out", "model.onnx"], "is a folder"),
        (["--format", "onnx", "--out", "nowhere/model.onnx"], "make it first"),
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


@pytest.mark.parametrize("form", ["onnx", "torch-export"])
def test_a_head_that_is_not_its_own_is_found_in_a_network_that_is_sure_of_everything(form, tmp_path, monkeypatch):
    sure = make_run(tmp_path / "run", "photo")
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
    images = torch.randint(0, 256, (4, 3, 37, 37), dtype=torch.uint8)
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


def test_a_damaged_folder_is_told(exported, tmp_path):
    folder = shutil.copytree(exported("photo", "hf")[0], tmp_path / "m")
    (folder / "head.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="not a whole folder"):
        open_model(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "hf-hub:somebody/model"},
        {"architecture": "hf_hub:somebody/model"},
        {"architecture": ["resnet18"]},
        {"model_args": {"pretrained": True}},
        {"model_args": {"in_chans": 3, "checkpoint_path": "/etc/hostname"}},
        {"model_args": {"in_chans": 3, "pretrained_cfg": {"url": "http://localhost/x"}}},
        {"model_args": {"in_chans": 10**9}},
        {"model_args": {"in_chans": True}},
    ],
)
def test_a_folder_cannot_make_timm_fetch_or_open_anything(exported, tmp_path, monkeypatch, change):
    folder = shutil.copytree(exported("photo", "hf")[0], tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    monkeypatch.setattr(timm, "create_model", lambda *given, **more: pytest.fail("timm was asked for it"))
    with pytest.raises(UserError, match=f"{next(iter(change))}: expected"):
        open_model(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "test_resnet"},
        {"architecture": ["hf_hub:somebody/model", "test_resnet"]},
        {"model_args": [{"in_chans": 3, "checkpoint_path": "/etc/hostname"}, {"in_chans": 3}]},
    ],
)
def test_a_folder_of_several_networks_cannot_either(exported, tmp_path, monkeypatch, change):
    folder = shutil.copytree(exported("photo-several", "hf")[0], tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    monkeypatch.setattr(timm, "create_model", lambda *given, **more: pytest.fail("timm was asked for it"))
    with pytest.raises(UserError, match=f"{next(iter(change))}: expected"):
        open_model(folder)


def test_one_model_has_no_other(exported):
    folder, _ = exported("small", "torch")
    with pytest.raises(UserError, match="leave out model"):
        open_model(folder, model="adapted")


# dalib.load


def test_three_lines_predict_a_photo(runs, photos):
    predictor = dalib.load(runs["photo"].root)
    prediction = predictor(str(photos / "000.png"))
    assert prediction.label in CLASSES
    assert prediction.confidence == max(prediction.probabilities.values()) == prediction.probabilities[prediction.label]
    assert set(prediction.probabilities) == set(CLASSES)
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_a_path_an_image_and_its_pixels_are_one_image(runs, photos):
    predictor = dalib.load(runs["photo"].root)
    image = Image.open(photos / "001.png")
    pixels = np.asarray(image)
    expected = predictor(photos / "001.png")
    given = [image, pixels, torch.from_numpy(pixels.copy()).permute(2, 0, 1), pixels / 255]
    assert [each.label for each in predictor(given)] == [expected.label] * 4
    assert [each.confidence for each in predictor(given)] == pytest.approx([expected.confidence] * 4, abs=1e-6)
    assert predictor([]) == []


def test_what_is_no_image_is_told(runs, tmp_path):
    predictor = dalib.load(runs["photo"].root)
    (tmp_path / "x.png").write_bytes(b"no")
    for image, expected in ((tmp_path / "x.png", "x.png"), (tmp_path / "none.png", "No such file"), (3, "int")):
        with pytest.raises(UserError, match=expected):
            predictor(image)


def test_importing_dalib_does_not_import_torch():
    subprocess.run(
        [sys.executable, "-c", "import sys, dalib; dalib.load; assert 'torch' not in sys.modules"], check=True
    )


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
