"""Every method through the command line, on a few images."""

import json

import numpy as np
import pytest
from PIL import Image

from dalib.commands.main import run
from dalib.records.folder import RunFolder
from dalib.run.settings.config import MethodName

QUICK = ["--steps", "3", "--batch", "4", "--data.size", "16", "--baseline_steps", "2", "--select", "judged"]
EVERY = ["--every.log", "1", "--every.evaluate", "2", "--every.checkpoint", "2"]
METHODS = MethodName.__args__


@pytest.fixture(scope="module")
def domains(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for domain in ("source", "target"):
        for name in ("cat", "dog"):
            folder = root / domain / name
            folder.mkdir(parents=True)
            for number in range(10):
                Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return ["--source", str(root / "source"), "--target", str(root / "target")]


@pytest.mark.parametrize("extra", [[], ["--masked_consistency.weight", "1"]], ids=["plain", "masked"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_judges_and_reports(domains, tmp_path, method, extra):
    if method == "source-only" and extra:
        return
    arguments = ["train", *domains, "--out", str(tmp_path / "run"), "--method", method, *QUICK, *EVERY, *extra]
    assert run(arguments) == 0
    found = RunFolder.existing(tmp_path / "run")
    summary = json.loads(found.summary.read_text())
    assert (summary["status"], summary["method"]) == ("done", method)
    models = {"source-only"} if method == "source-only" else {"adapted", "aligned", "source-only"}
    assert set(found.models()) == models
    assert json.loads(found.judgement.read_text())["shipped"] in found.models()
    assert method in found.report.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "fixmatch", "--prior", "source"], "fixmatch expects no class shares"),
        (["--method", "mcc", "--mcc.temperature", "0"], "--mcc.temperature: expected more than 0, got 0.0"),
        (["--method", "source-only", "--masked_consistency.weight", "1"], "beside a method that adapts"),
        (
            ["--masked_consistency.weight", "1", "--masked_consistency.ratio", "1"],
            "--masked_consistency.ratio: expected a",
        ),
        (["--self_ensemble.class_balance", "-1"], "--self_ensemble.class_balance: expected at least 0, got -1.0"),
        (["--self_ensemble.distance", "kl"], "--self_ensemble.over_classes: expected sum, as kl is a sum over classes"),
        (["--method", "mean-teacher", "--mean_teacher.ramp_up", "-1"], "--mean_teacher.ramp_up: expected at least 0"),
        (["--method", "fixmatch", "--fixmatch.alpha", "2"], "--fixmatch.alpha: expected a decay in [0, 1], got 2.0"),
    ],
)
def test_settings_that_do_not_fit_the_method_are_refused(domains, tmp_path, capsys, arguments, words):
    assert run(["train", *domains, "--out", str(tmp_path / "run"), *QUICK, *arguments]) == 2
    assert words in capsys.readouterr().err
