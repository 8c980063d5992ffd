"""Photographs of noise about a colour for each class, weights of a network, and what each run on them keeps."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dalib.commands.main import run
from dalib.models.pretrained import PretrainedBackbone
from dalib.records.folder import RunFolder

COLOURS = {"blue": (70, 70, 180), "green": (70, 170, 80), "rare": (120, 120, 120), "red": (190, 70, 70)}


def write_domain(folder, counts, shade, rng, ending="jpg"):
    """Writes a folder for each class of ``counts``, with so many images."""
    for name, count in counts.items():
        for number in range(count):
            path = folder / name / f"{number}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.normal(np.add(COLOURS[name], shade), 40, (36, 44, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=95)


def write_weights(path, backbone, seed=0, size=None):
    torch.manual_seed(seed)
    network = PretrainedBackbone(backbone, size=size).network
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)


def assert_images_are_predicted_as_features_were(trained, images, classes, folder):
    """Each model predicts of the target's images what it predicted, while it trained, of their features."""
    for name, model in json.loads(trained.summary.read_text())["models"].items():
        out = folder / f"{name}.csv"
        assert run(["predict", str(trained.root), "--images", str(images), "--out", str(out), "--model", name]) == 0
        rows = list(csv.DictReader(out.read_text().splitlines()))
        assert [sum(row["class"] == each for row in rows) for each in classes] == model["target_histogram"]
        confidence = np.mean([float(row["confidence"]) for row in rows])
        assert confidence == pytest.approx(model["target_confidence"], abs=2e-3)


def assert_it_resumes_to_the_same_weights(trained, folder):
    """A copy of the run without its adapted model and checkpoints trains this model again."""
    cut = RunFolder.existing(shutil.copytree(trained.root, folder / "cut"))
    shutil.rmtree(cut.model)
    shutil.rmtree(cut.root / "adapted")
    shutil.rmtree(cut.checkpoints)
    assert run(["train", "--resume", str(cut.root)]) == 0
    first, second = (load_file(each.model / "model.safetensors") for each in (trained, cut))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
