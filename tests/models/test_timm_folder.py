"""Folders that timm opens: what is in them, the program in their README, and what is refused."""

import json
import shutil
import struct
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import dalib
from dalib.core.errors import UserError
from dalib.models.network import load_classifier, load_model
from dalib.models.timm_folder import write_timm_folder
from dalib.run.export import export
from dalib.run.finished.load import open_model
from untrained_runs import CLASSES, KINDS, make_run, write_deep_photos, write_photos


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    return {kind: make_run(root / kind, kind) for kind in KINDS if kind.startswith("photo")}


@pytest.fixture(scope="module")
def folders(runs, tmp_path_factory):
    """The folder of each kind of run."""
    root = tmp_path_factory.mktemp("exported")
    for kind, each in runs.items():
        export(each, "hf", root / kind)
    return {kind: root / kind for kind in runs}


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, 4)
    return folder / "003.png"


@pytest.mark.parametrize("kind", ["photo", "photo-views", "photo-plain"])
def test_timm_opens_the_folder(kind, runs, folders):
    folder = folders[kind]
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    original, _ = load_model(runs[kind].root / "model")
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


@pytest.mark.parametrize(("crop", "size"), [(224, 256), (443, 506), (160, 212)])
def test_timm_scales_images_to_the_size_of_the_rows(crop, size, runs):
    model, description = load_classifier(runs["photo-plain"].root / "model")
    described = replace(description, preprocessing=replace(description.preprocessing, size=size, crop=crop))
    folder = runs["photo-plain"].root / f"of-{size}"
    folder.mkdir()
    write_timm_folder(folder, model, model, described)
    config = timm.create_model(f"local-dir:{folder}", pretrained=True).pretrained_cfg
    scaling = timm.data.create_transform(**timm.data.resolve_data_config(config)).transforms[0]
    assert scaling.size == size


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("photo")])
def test_the_folder_gives_the_features_that_the_run_gives(kind, runs, folders):
    of_run, of_folder = open_model(runs[kind].root, device="cpu"), open_model(folders[kind], device="cpu")
    size, channels = of_run.description.preprocessing.size, of_run.description.preprocessing.channels
    images = torch.randint(0, 256, (3, channels, size, size), dtype=torch.uint8)
    expected, found = of_run.representation(), of_folder.representation()
    assert (found.layer, found.width) == (expected.layer, expected.width)
    torch.testing.assert_close(found.features(images), expected.features(images), atol=1e-5, rtol=1e-4)


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
def by_the_readme(folders, photo, tmp_path_factory):
    """Returns the exit code, output and errors of the README's program by kind and name of the image."""
    deep = tmp_path_factory.mktemp("deep")
    write_deep_photos(deep, 1)
    write_png_of_16_bits(deep / "colours.png", np.full((4, 5, 3), 2000, ">u2"))
    grey, colours = deep / "000.png", deep / "colours.png"
    given = {(kind, "photo"): photo for kind in ("photo", "photo-views", "photo-plain", "photo-several")}
    given |= {("photo-12-bits", "grey"): grey, ("photo-plain", "grey"): grey, ("photo-12-bits", "colours"): colours}
    programs = []
    for (kind, _), image in given.items():
        folder = folders[kind]
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


def test_a_damaged_folder_is_told(folders, tmp_path):
    folder = shutil.copytree(folders["photo"], tmp_path / "m")
    (folder / "head.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="not a whole folder"):
        open_model(folder)


def test_other_classes_than_the_network_has_are_refused(folders, photo, tmp_path):
    folder = shutil.copytree(folders["photo"], tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    one_more = [*CLASSES, "unheard"]
    (folder / "config.json").write_text(json.dumps(config | {"label_names": one_more}))
    with pytest.raises(UserError, match=r"label_names: expected the classes under dalib, got .*unheard"):
        open_model(folder)
    whole = config | {"label_names": one_more, "dalib": config["dalib"] | {"classes": one_more}}
    (folder / "config.json").write_text(json.dumps(whole))
    with pytest.raises(UserError, match=rf"\(1, {len(CLASSES)}\) for 1 images and {len(one_more)} classes"):
        dalib.load(folder)(photo)


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
def test_a_folder_cannot_make_timm_fetch_or_open_anything(folders, tmp_path, monkeypatch, change):
    folder = shutil.copytree(folders["photo"], tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    monkeypatch.setattr(timm, "create_model", lambda *given, **more: pytest.fail("timm was asked for it"))
    with pytest.raises(UserError, match=f"{next(iter(change))}: expected"):
        open_model(folder)


def test_timm_opens_the_first_of_several_networks(runs, folders):
    """timm's own loader knows one network a folder: it is the first, and the program in README.md adds the others."""
    folder = folders["photo-several"]
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    original, _ = load_classifier(runs["photo-several"].root / "model")
    first, seen = original.backbone.members[0], original.backbone.inputs[0]
    images = torch.rand(2, 3, seen.size, seen.size)
    with torch.no_grad():
        torch.testing.assert_close(network(images), first.eval()(images))
    data = timm.data.resolve_model_data_config(network)
    assert (tuple(data["input_size"]), tuple(data["mean"])) == ((3, seen.size, seen.size), seen.mean)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "library_name: timm" in card
    assert "is the first of them; joined.safetensors holds the others" in card.replace("\n", " ")


def as_before(folder):
    """Turns a folder of several networks into one of before, whose model.safetensors held the tensors of all."""
    config = json.loads((folder / "config.json").read_text())
    networks = config.pop("joined")["networks"]
    config["architecture"] = [each["architecture"] for each in networks]
    config["model_args"] = [each["model_args"] for each in networks]
    (folder / "config.json").write_text(json.dumps(config))
    first = {f"0.{name}": each for name, each in load_file(folder / "model.safetensors").items()}
    save_file(first | load_file(folder / "joined.safetensors"), folder / "model.safetensors")
    (folder / "joined.safetensors").unlink()


def test_a_folder_of_several_networks_of_before_is_read(runs, folders, photo, tmp_path):
    folder = shutil.copytree(folders["photo-several"], tmp_path / "m")
    as_before(folder)
    found, expected = (dalib.load(each)(photo).probabilities for each in (folder, runs["photo-several"].root))
    assert found == pytest.approx(expected, abs=1e-5)


_LOOKS_ELSEWHERE = {"in_chans": 3, "checkpoint_path": "/etc/hostname"}


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "test_resnet"},
        {"architecture": ["hf_hub:somebody/model", "test_resnet"]},
        {"model_args": [_LOOKS_ELSEWHERE, {"in_chans": 3}]},
    ],
)
@pytest.mark.parametrize("before", [False, True])
def test_a_folder_of_several_networks_cannot_either(folders, tmp_path, monkeypatch, change, before):
    folder = shutil.copytree(folders["photo-several"], tmp_path / "m")
    if before:
        as_before(folder)
    config = json.loads((folder / "config.json").read_text())
    if before:
        config |= change
    else:
        ((key, value),) = change.items()
        config["joined"]["networks"][0][key] = value if isinstance(value, str) else value[0]
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(timm, "create_model", lambda *given, **more: pytest.fail("timm was asked for it"))
    with pytest.raises(UserError, match=f"{next(iter(change))}: expected"):
        open_model(folder)
