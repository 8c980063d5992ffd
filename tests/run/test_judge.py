"""The judgement of a run, through the command line: failures planted on purpose are caught and named."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from dalib.adaptation.hints import TrustedHints, hold_back
from dalib.commands.main import run
from dalib.core.errors import UserError
from dalib.engine.train import Trained
from dalib.judge.evidence import Confidence, Evidence
from dalib.judge.scores import corr_c
from dalib.records.folder import RunFolder
from dalib.report.page import write_report
from dalib.run.finished.query import query
from dalib.run.judge import judge
from dalib.run.recipe.recipe import JudgeSettings

pytestmark = pytest.mark.usefixtures("few_digits")
SELECTED = "the evaluation with the highest class correlation (Corr-C) of its predictions for the target"
QUICK = ["--batch", "16", "--every.log", "5", "--every.evaluate", "10", "--every.checkpoint", "10"]
#: Agreement with a teacher that knows nothing, a thousand times as heavy as it should be: trap 14 of the method.
COLLAPSING = [
    *("--self_ensemble.threshold", "0", "--self_ensemble.weight", "3000", "--self_ensemble.class_balance", "0"),
    *("--warm_start", "false", "--optimizer.lr", "0.01", "--batch", "32"),
]


def train(out, *arguments, steps=30, baseline=30, code=0):
    given = ["--steps", str(steps), "--baseline_steps", str(baseline), "--out", str(out), *QUICK, *arguments]
    assert run(["train", *given]) == code
    return RunFolder.existing(out)


def judgement_of(found):
    return json.loads(found.judgement.read_text())


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return train(tmp_path_factory.mktemp("judged") / "good", "--seed", "1")


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judged") / "collapsed"
    return train(folder, *COLLAPSING, steps=60, baseline=60)


def test_a_run_is_judged_without_a_label(good, capsys):
    judgement, summary = judgement_of(good), json.loads(good.summary.read_text())
    assert judgement["shipped"] == summary["shipped"] == "adapted"
    assert judgement["outcome"] in {"helped", "unclear"}
    for name in ("adapted", "source-only"):
        of_model = judgement["models"][name]
        assert 0 <= of_model["estimate"]["low"] <= of_model["estimate"]["value"] <= of_model["estimate"]["high"] <= 1
        assert len(of_model["classes"]) == 10
        assert {"target_mutual_information", "target_density", "target_class_ami"} <= of_model["scores"].keys()
        assert sum(each["count"] for each in of_model["calibration"]["bins"]) == 300
    assert 0 <= judgement["distance"] <= 2
    assert judgement["selection"] == {"step": 30, "of": 30, "score": "judged", "reason": SELECTED}
    assert judgement["mask_threshold"] == {"value": 0.9, "of_source": False}
    assert judgement["prior"]["kind"] == "uniform"
    assert sum(judgement["prior"]["estimate"]) == pytest.approx(1)


def test_evaluations_are_logged_with_their_scores(good):
    lines = [json.loads(line) for line in good.metrics.read_text().splitlines()]
    judged = [line for line in lines if "target_mutual_information" in line]
    assert [line["step"] for line in judged] == [10, 20, 30]
    assert all(0 <= line["target_agreement"] <= 1 for line in judged)


def test_what_the_models_say_is_kept(good):
    tensors, names = load_file(good.predictions), json.loads(good.images.read_text())
    assert tensors["target/adapted"].shape == tensors["target/source-only"].shape == (300, 10)
    assert tensors["validation/adapted"].shape == (300, 10)
    assert len(names["target"]) == len(names["validation"]) == 300
    torch.testing.assert_close(tensors["target/adapted"].sum(dim=1), torch.ones(300))
    summary = json.loads(good.summary.read_text())
    counts = torch.bincount(tensors["target/adapted"].argmax(dim=1), minlength=10).tolist()
    assert summary["models"]["adapted"]["target_histogram"] == counts


def test_a_collapse_stops_the_run_and_the_better_baseline_is_shipped(collapsed):
    judgement, summary = judgement_of(collapsed), json.loads(collapsed.summary.read_text())
    assert (judgement["outcome"], judgement["shipped"], judgement["baseline"]) == ("collapsed", "aligned", "aligned")
    assert summary["status"] == "collapsed"
    assert summary["stopped"]["step"] == 20
    assert "classes in effect" in summary["stopped"]["reason"]
    assert json.loads(collapsed.metrics.read_text().splitlines()[-1])["step"] == 20
    assert list(collapsed.models()) == ["aligned", "adapted", "source-only"]  # the first one predicts
    shipped, baseline = (
        load_file(collapsed.model / "model.safetensors"),
        load_file(collapsed.aligned.model / "model.safetensors"),
    )
    assert all(torch.equal(shipped[name], baseline[name]) for name in baseline)
    assert "collapsed" in collapsed.report.read_text()[:4000].lower()


def test_going_on_with_a_collapsed_run_comes_to_the_same(collapsed, tmp_path):
    copied = tmp_path / "copied"
    shutil.copytree(collapsed.root, copied)
    assert run(["train", "--resume", str(copied)]) == 0
    again = RunFolder.existing(copied)
    assert judgement_of(again) == judgement_of(collapsed)
    for folder in (again.model, again.adapted.model):
        ours = load_file(folder / "model.safetensors")
        theirs = load_file(collapsed.root / folder.relative_to(again.root) / "model.safetensors")
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_adapted_model_is_kept_where_that_is_asked_for(tmp_path):
    found = train(tmp_path / "run", *COLLAPSING, "--keep", "adapted", steps=20, baseline=60)
    judgement = judgement_of(found)
    assert (judgement["outcome"], judgement["shipped"]) == ("collapsed", "adapted")
    assert judgement["headline"] == "Adaptation collapsed"
    assert any("--keep adapted" in reason for reason in judgement["reasons"])
    assert list(found.models()) == ["adapted", "aligned", "source-only"]


@pytest.mark.parametrize("every", [("--every.log", "1"), ("--every.log", "5", "--every.evaluate", "5")])
def test_a_training_that_becomes_nan_keeps_its_last_checkpoint_and_names_the_part(tmp_path, capsys, every):
    found = train(tmp_path / "run", "--optimizer.lr", "1e30", "--baseline", "false", *every, code=1)
    assert "at step" in capsys.readouterr().err
    assert json.loads(found.summary.read_text())["status"] == "diverged"
    assert "diverged" in found.report.read_text()


def test_without_source_validation_images_there_is_no_estimate_and_no_crash(tmp_path):
    found = train(tmp_path / "run", "--data.validation_share", "0", steps=10, baseline=10)
    judgement = judgement_of(found)
    assert "estimate" not in judgement["models"]["adapted"]
    assert judgement["distance"] is None
    assert judgement["prior"]["estimate"] is None


def test_the_judged_weights_are_kept_and_told(tmp_path):
    found = train(tmp_path / "run", "--select", "judged", steps=20, baseline=10)
    kept = json.loads((found.kept / "kept.json").read_text())
    lines = [json.loads(line) for line in found.metrics.read_text().splitlines()]
    best = max((line["target_corr_c"], -line["step"]) for line in lines if "target_classes" in line)
    assert kept == {"step": -best[1], "score": best[0]}
    assert judgement_of(found)["selection"]["step"] == kept["step"]


def test_an_estimated_prior_is_used_and_told_and_survives_a_stop(tmp_path):
    found = train(tmp_path / "run", "--prior", "estimate", steps=20, baseline=10)
    shares = judgement_of(found)["prior"]["shares"]
    assert math.isclose(sum(shares), 1, abs_tol=1e-5)
    assert min(shares) >= 0.019
    assert max(shares) != min(shares)
    for name, model in judgement_of(found)["models"].items():  # both against what the adaptation expected
        expected = corr_c(load_file(found.predictions)[f"target/{name}"], torch.tensor(shares))
        assert model["scores"]["target_corr_c"] == pytest.approx(expected, abs=1e-6)
    shutil.rmtree(found.model)
    newest = max(found.checkpoints.iterdir())
    newest.unlink()  # as if killed between two checkpoints
    assert run(["train", "--resume", str(found.root)]) == 0
    assert judgement_of(found)["prior"]["shares"] == shares


def test_functions_take_a_run_by_its_path(good, tmp_path):
    assert write_report(RunFolder.of(str(good.root))) == good.report
    assert query(good.root, 5, str(tmp_path / "to_label.csv")) == 5
    with pytest.raises(UserError, match="no such folder"):
        write_report(RunFolder.of(tmp_path / "nowhere"))


def test_hints_that_were_held_back_speak_for_the_better_model():
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(400) % 4

    def labels_right(share):
        other = (truth + torch.randint(1, 4, truth.shape, generator=generator)) % 4
        return torch.eye(4)[torch.where(torch.rand(400, generator=generator) < share, truth, other)]

    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    said = {"source-only": Evidence(*nothing, labels_right(0.5)), "adapted": Evidence(*nothing, labels_right(0.9))}
    trained = {name: Trained(torch.nn.Identity(), each, 1, 1, "", None) for name, each in said.items()}
    given = torch.stack([labels_right(0.7), said["source-only"].target], dim=1)
    settings = JudgeSettings(Confidence(0.9), "better", "uniform", "last", 1)

    def judged(held_back):
        hints = TrustedHints(given, said["source-only"].target, held_back=held_back)
        return judge(trained, said, settings, ("a", "b", "c", "d"), hints=hints)

    with_votes, without = judged(hold_back(given[:, 0], seed=0)), judged(None)
    assert without.probability == 0.5  # there are no features
    assert with_votes.probability > 0.85
    assert "Of 40 hints that were held back from training" in " ".join(with_votes.reasons)
    assert not any("held back" in each for each in without.reasons)


def test_where_the_target_seems_to_have_few_classes_source_only_is_selected_and_nothing_estimated():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    validation = torch.eye(4)[labels] * 0.9 + 0.025
    features = torch.randn(60, 5, generator=generator)

    def model(target):
        evidence = Evidence(validation, labels, target, None, features[:40], features)
        return Trained(torch.nn.Identity(), evidence, 1, 1, "", None)

    every, one = torch.eye(4)[torch.arange(60) % 4], torch.eye(4)[[0] * 60] * 0.9 + 0.025
    trained = {"source-only": model(one), "aligned": model(every * 0.2 + 0.2), "adapted": model(every * 0.9 + 0.025)}
    said = {name: each.evidence for name, each in trained.items()}
    for keep, shipped in (("better", "source-only"), ("adapted", "adapted")):
        settings = JudgeSettings(Confidence(0.9), keep, "source", "judged", 1)
        found = judge(trained, said, settings, ("bike", "mouse", "mug", "pen"))
        assert (found.shipped, found.outcome, found.baseline, found.few_classes) == (
            shipped,
            "hurt",
            "source-only",
            True,
        )
        assert found.target in found.reasons
        assert found.probability is None
        assert all(each.estimate is None for each in found.models.values())
    fitted = {**trained, "adapted": model(one)}  # for a target of few classes
    said = {name: each.evidence for name, each in fitted.items()}
    found = judge(
        fitted, said, JudgeSettings(Confidence(0.9), "better", "source", "judged", 1), ("bike", "mouse", "mug", "pen")
    )
    assert (found.baseline, found.few_classes) == ("source-only", None)
    assert all(each.estimate is None for each in found.models.values())
