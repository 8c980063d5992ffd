"""Makes the run folders in ``written/`` with the code that is installed: ``python tests/records/old_runs.py FOLDER``.

Those in ``written/`` are of version 0, from before records had a version, and are not made anew: they stand for the
runs that people have. Their images are made from a seed, so that a test can make them again.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

QUICK = [
    "--source",
    "images/source",
    "--target",
    "images/target",
    "--steps",
    "4",
    "--batch",
    "4",
    "--device",
    "cpu",
    "--data.size",
    "16",
    "--data.channels",
    "1",
    "--data.validation_share",
    "0.3",
    "--every.log",
    "2",
    "--every.evaluate",
    "2",
    "--every.checkpoint",
    "4",
]
RUNS: dict[str, list[str]] = {
    "both": [],
    "source-only": ["--method", "source-only"],
    "labelled": ["--data.validation_share", "0.5", "--select", "last", "--keep", "adapted"],
}
"""Name and further arguments; ``labelled`` is measured with labels of its target and on a labelled folder."""
NOT_KEPT = (
    "checkpoints",
    "model",
    "adapted",
    "kept",
    "lock",
    "report.html",
    "source-only/checkpoints",
    "source-only/model",
)


def make_images(root: Path) -> None:
    """Writes ``images/source``, ``images/target``, ``images/labelled`` and ``labels.csv``."""
    rng = np.random.default_rng(0)
    labels = ["path,label"]
    for number in range(48):
        name = ("dark", "light")[number % 2]
        for place, shade in ((f"source/{name}", 60), ("target", 90), (f"labelled/{name}", 90)):
            path = root / "images" / place / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = rng.normal(shade + 70 * (number % 2), 20, (16, 16))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
        labels.append(f"images/target/{number:02d}.png,{name}")
    (root / "labels.csv").write_text("\n".join(labels[:31]) + "\n", encoding="utf-8")


def main(out: Path) -> None:
    from dalib.commands.main import run

    os.chdir(out)
    make_images(Path())
    for name, more in RUNS.items():
        assert run(["train", *QUICK, *more, "--out", name]) == 0
    assert run(["eval", "labelled", "--labels", "labels.csv"]) == 0
    assert run(["eval", "labelled", "--data", "images/labelled"]) == 0
    for name in RUNS:
        for part in NOT_KEPT:
            path = Path(name, part)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    shutil.rmtree("images")
    Path("labels.csv").unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
