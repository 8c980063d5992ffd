"""What ``dalib checks`` says of the kind of target: what a run will say, or that it will."""

import numpy as np
import pytest

from dalib.commands.main import run
from dalib.core.words import likelihood
from dalib.records.summary import Summary
from dalib.run import checks as checking
from dalib.run import foreseen_kind
from dalib.run.timing.pace import Pace
from noisy_photos import write_domain, write_weights

NAME = "test_resnet"
QUICK = ["--batch", "8", "--every.evaluate", "4", "--steps", "4", "--features", "2", "--feature_precision", "float32"]
AT_ONCE, SLOW = (Pace({"adapted": 1e-6, "source-only": 1e-6}, 0.0, view, 0.0) for view in (1e-6, 1.0))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """here/ with three classes, there/ with one of them, few/ with too few images, and the weights of a network."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    write_domain(root / "here", {"blue": 14, "green": 14, "red": 14}, 0, rng, "png")
    write_domain(root / "there", {"blue": 32}, 40, rng, "png")
    write_domain(root / "few", {"blue": 15, "red": 14}, 40, rng, "png")
    write_weights(root / "w.safetensors", NAME)
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DALIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def arguments(photos, *more, target="there"):
    where = ["--source", f"{photos}/here", "--target", f"{photos}/{target}"]
    return [*where, "--backbone", NAME, "--weights", f"{photos}/w.safetensors", *QUICK, *more]


def told(capsys, asked):
    """What is printed behind the estimate of the time."""
    capsys.readouterr()
    assert run(["checks", *asked]) == 0
    return capsys.readouterr().out.partition("measured on random pixels\n")[2]


@pytest.mark.parametrize("share", ["0", "joined"])
def test_checks_says_what_a_run_will_find_and_keeps_nothing(share, photos, cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checking, "measure_pace", lambda *given, **more: AT_ONCE)
    asked = arguments(photos, "--model.domain_statistics", share)
    printed = told(capsys, asked)
    assert not cache.exists()
    assert run(["train", *asked, "--out", f"{tmp_path}/run"]) == 0
    kind = Summary.read(tmp_path / "run/summary.json").target_kind
    assert kind.estimated
    assert (
        f"the source's classes {likelihood(kind.same)}, fewer of them {likelihood(kind.fewer)}, nothing to tell"
        in printed
    )
    assert (
        f"the adaptation expects {kind.expectation}. Estimated with models of 4 steps on 2 views of each image"
        in printed
    )


def test_what_takes_long_is_left_to_the_run(photos, monkeypatch, capsys):
    monkeypatch.setattr(checking, "measure_pace", lambda *given, **more: SLOW)
    monkeypatch.setattr(foreseen_kind, "foreseen_kind", None)
    printed = told(capsys, arguments(photos))
    assert "is estimated by the run and shown in its report (here it takes about" in printed
    assert "more than 0:20); --classes auto acts on it" in printed


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--classes", "fewer"], "--classes fewer decides it; --classes auto estimates it"),
        (["--prior", "source"], "with --prior source a run assumes the source's classes"),
        (["--baseline", "false"], "with --baseline false a run assumes the source's classes"),
        (["--method", "source-only"], "--method source-only adapts to no target"),
    ],
)
def test_where_a_run_does_not_ask_the_reason_is_printed(more, reason, photos, monkeypatch, capsys):
    monkeypatch.setattr(checking, "measure_pace", lambda *given, **more: SLOW)
    printed = told(capsys, arguments(photos, *more))
    assert printed.startswith("whether the target has the source's classes")
    assert printed.endswith(f"is not estimated: {reason}\n")


def test_a_target_of_few_images_cannot_be_told(photos, monkeypatch, capsys):
    monkeypatch.setattr(checking, "measure_pace", lambda *given, **more: AT_ONCE)
    assert "cannot be estimated from 29 images; that takes 30" in told(capsys, arguments(photos, target="few"))


def test_a_network_that_is_trained_as_a_whole_is_left_to_the_run(photos, capsys):
    where = ["--source", f"{photos}/here", "--target", f"{photos}/there", "--data.size", "16", "--batch", "4"]
    printed = told(capsys, [*where, "--backbone", "small", "--classes", "auto"])
    assert "is estimated by the run and shown in its report; --classes auto acts on it" in printed
