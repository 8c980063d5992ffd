"""Runs with untrained models of every kind of network, which predict something, and photographs for them."""

import numpy as np
import torch
from PIL import Image

from dalib.core.files import write_json
from dalib.data.preprocessing import Preprocessing
from dalib.models.architecture import Architecture
from dalib.models.network import make_classifier
from dalib.models.saved import ModelDescription, save_model
from dalib.records.folder import RunFolder

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
    images = {"averaged_views": 0, "channels": preprocessing.channels, "size": preprocessing.input_size}
    architecture = Architecture.from_json({**images, **settings})
    torch.manual_seed(0)
    network = make_classifier(architecture, len(classes))
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    torch.nn.init.normal_(network.head.weight, std=1.0)
    if architecture.standardize:
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


def write_deep_photos(folder, count):
    """Grey PNGs of 12 bits, which PIL opens as 16."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        values = rng.integers(0, 4096, (9, 11)).astype(np.uint16).repeat(4, axis=0).repeat(4, axis=1)
        Image.fromarray(values).save(folder / f"{number:03d}.png")
