"""Folders of a few small images, some of them damaged."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image


def draw(path: Path, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 4), value).save(path)
    return path


def empty(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def truncated(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def two_classes(root: Path) -> Path:
    draw(root / "dog" / "a.png", 10)
    draw(root / "cat" / "b.png", 20)
    draw(root / "cat" / "deep" / "c.png", 30)
    return root


def values(images: torch.Tensor) -> list[int]:
    return images[:, 0, 0, 0].tolist()
