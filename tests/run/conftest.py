"""What makes whole runs on the built-in example cheap: small maps, digits that are drawn once, or few, a brief pace."""

from functools import cache

import numpy as np
import pytest
from PIL import Image

import dalib
from brief_pace import measure_briefly
from cups_and_pens import QUICK, write_cups_and_pens
from dalib.data import sources
from dalib.data.digits import handwritten_digits, render_digits
from dalib.report import sheets
from dalib.run import length
from dalib.run.features import neutral_features
from dalib.run.settings.config import EveryConfig, TrainConfig
from dalib.run.timing.pace import Pace

drawn = cache(render_digits)
rows_of_arrays, rows_made = sources.rows_of_arrays, {}
SHARE = 4
"""Of so many built-in digits, one is there where few are enough."""


def copied(*drawing):
    return tuple(each.copy() for each in drawn(*drawing))


def rows_made_once(pixels, preprocessing):
    """Rows of digits, each kind of which is scaled once: 3000 take as long as a short training."""
    key = (preprocessing, pixels.shape, pixels.tobytes())
    if key not in rows_made:
        rows_made[key] = rows_of_arrays(pixels, preprocessing)
    return rows_made[key].clone()


@pytest.fixture(autouse=True, scope="module")
def cheap_runs():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sheets, "MAPPED", 60)  # images of each domain; t-SNE takes seconds for 500
        patched.setattr(sources, "render_digits", copied)
        patched.setattr(sources, "rows_of_arrays", rows_made_once)
        patched.setattr(sheets, "MAP_STEPS", 250)  # the fewest that scikit-learn takes
        measure_briefly(patched)
        yield


@pytest.fixture(scope="module")
def few_digits(cheap_runs):
    """The built-in example with 3000 source images and 300 of the target; all of those that are held out."""

    def few():
        target, held_out, labels = handwritten_digits()
        return target[::SHARE], held_out, labels

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sources, "render_digits", lambda count, seed: copied(count // SHARE, seed))
        patched.setattr(sources, "handwritten_digits", few)
        patched.setattr(neutral_features, "MOST_OF_SOURCE", 200)  # images that the installed network sees
        patched.setattr(
            length, "SHORT", 100
        )  # steps of a run whose length is not measured: it takes as long as the run
        yield


@pytest.fixture(scope="module")
def cups_and_pens(tmp_path_factory):
    """The folder of small images of cups and pens: studio, street and labelled."""
    root = tmp_path_factory.mktemp("images")
    write_cups_and_pens(root)
    return root


@pytest.fixture(scope="module")
def cups_run(cups_and_pens, tmp_path_factory):
    """A run of a second on cups and pens, one for each module, because tests measure and select its models."""
    out = tmp_path_factory.mktemp("runs") / "first"
    return dalib.adapt(cups_and_pens / "studio", cups_and_pens / "street", out=out, **QUICK)


@pytest.fixture
def config(images, tmp_path):
    """Of a run of four steps on small images."""
    return TrainConfig(
        source=str(images / "source"),
        target=str(images / "target"),
        out=str(tmp_path / "run"),
        steps=4,
        batch=4,
        every=EveryConfig(log=2, evaluate=2, checkpoint=2),
        device="cpu",
    )


@pytest.fixture
def noise(tmp_path):
    """Arguments of train for two domains of noise."""
    rng = np.random.default_rng(0)
    for domain in ("source", "target"):
        for number in range(16):
            path = tmp_path / domain / ("cat", "dog")[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path)
    return ["--source", f"{tmp_path}/source", "--target", f"{tmp_path}/target", "--batch", "4", "--data.size", "12"]


@pytest.fixture
def slow_machine(monkeypatch):
    """A machine on which some 60 steps fit in a minute."""
    measured = []

    def measure(*_, **__):
        measured.append(1)
        return Pace({"source-only": 0.4, "adapted": 0.4}, 0.0, 0.0, 0.0)

    monkeypatch.setattr("dalib.run.timing.time_limit.measure_pace", measure)
    monkeypatch.setattr("dalib.run.length.measure_pace", measure)
    return measured
