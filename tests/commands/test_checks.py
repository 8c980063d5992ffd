"""dalib checks, which trains nothing."""

import numpy as np
from PIL import Image
from small_run import QUICK

from dalib.commands.main import run


def test_checks_tells_counts_without_training(folders, capsys):
    assert run(["checks", "--source", f"{folders}/source", "--target", f"{folders}/target", *QUICK]) == 0
    out = capsys.readouterr().out
    for expected in ("torch", "dark: 12", "24 images", "broken.png"):
        assert expected in out


def test_checks_warns_of_copies_that_the_split_would_cut_through(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for number in range(40):
        name = ("cat", "dog")[number % 2]
        coarse = rng.integers(0, 255, (5, 5, 3), dtype=np.uint8)
        for copy in range(4):
            path = tmp_path / "source" / name / f"{number:02d}{'abcd'[copy]}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.asarray(Image.fromarray(coarse).resize((32, 32)), dtype=np.int64) + rng.integers(
                0, 6, (32, 32, 3)
            )
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    assert run(["checks", "--source", f"{tmp_path}/source"]) == 0
    told = capsys.readouterr().err
    assert f"warning: source {tmp_path}/source: 160 images in 40 groups by near duplicates, the largest of 4" in told
    assert "would have images on both sides of the validation split" in told
    assert run(["checks", "--source", f"{tmp_path}/source", "--groups", "([0-9][0-9])[a-d]"]) == 0
    printed = capsys.readouterr()
    assert f"source {tmp_path}/source: 160 images in 40 groups by ([0-9][0-9])[a-d]" in printed.out
    assert "both sides" not in printed.err
