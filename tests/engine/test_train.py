"""One training from its first step to its model: evaluation, kept weights, collapse, class prior, resume."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dalib.adaptation.self_ensemble import SelfEnsemble
from dalib.augment.views import View, tfa_operations
from dalib.core.errors import StoppedError
from dalib.data.domain_images import LabelledImages
from dalib.data.preprocessing import Preprocessing
from dalib.data.stream import DomainViews, Sampling, TwoDomainStream
from dalib.engine.evaluate import Evaluator
from dalib.engine.fit import Every, Training
from dalib.engine.results import InFolder, InMemory
from dalib.engine.train import Observer, Plan, Rules, Statistics, train
from dalib.models.architecture import Architecture
from dalib.models.classifier import ImageClassifier
from dalib.models.saved import ModelDescription, load_tensors, save_model
from dalib.records.folder import TrainingFolder

CPU = torch.device("cpu")
CLASSES, STEPS = 3, 8
PREPROCESSING = Preprocessing(8, 1)
ARCHITECTURE = Architecture(backbones=("of this test",), bottleneck_dim=5, channels=1, size=8)
PIXELS = torch.randint(0, 256, (3, 20, 1, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
SHARES = torch.tensor([0.5, 0.3, 0.2])


def make_training(steps: int = STEPS) -> Training:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
        backbone.out_features = 4
        student = ImageClassifier(backbone, CLASSES, bottleneck_dim=5, finetune=True)
        method = SelfEnsemble(student, CLASSES, alpha=0.9, threshold=0.0, class_balance_weight=0.1)
    view = View(PREPROCESSING.normalize, tfa_operations())
    stream = TwoDomainStream(
        PIXELS[0],
        torch.arange(20) % CLASSES,
        PIXELS[1],
        views=DomainViews(view, (view,) * method.target_views),
        sampling=Sampling(batch=6, seed=3),
        device=CPU,
    )
    groups = [{**group, "initial_lr": group["lr"]} for group in student.get_parameters(0.01)]
    return Training(method, torch.optim.Adam(groups), stream, lambda step: 1.0, steps, seed=7)


def scores(method, evidence, step):
    return {"evaluated": float(step), "target_classes": 2.0}, None


def make_plan(**rules) -> Plan:
    validation = LabelledImages(PIXELS[2], torch.arange(20) % CLASSES, ("a", "b", "c"), tuple(map(str, range(20))))
    evaluator = Evaluator(validation, PIXELS[1], PREPROCESSING.normalize, PREPROCESSING.normalize, CPU)
    return Plan("adapted", evaluator, Rules(**{"assess": scores, **rules}), Every(log=1, evaluate=2, checkpoint=2))


def in_folder(root: Path) -> InFolder:
    root.mkdir(exist_ok=True)
    description = ModelDescription(ARCHITECTURE, ("a", "b", "c"), PREPROCESSING)
    return InFolder(TrainingFolder(root), lambda to, model: save_model(to, model, description))


def assert_same_model(one: nn.Module, other: nn.Module) -> None:
    weights, others = one.state_dict(), other.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_results_in_memory_and_in_a_folder_come_to_the_same_model_and_evidence(tmp_path):
    plan, results = make_plan(score=lambda lines: lines[-1]["evaluated"]), in_folder(tmp_path / "training")
    here, there = train(make_training(), plan, InMemory()), train(make_training(), plan, results)
    assert_same_model(here.model, there.model)
    assert torch.equal(here.evidence.target, there.evidence.target)
    assert torch.equal(here.evidence.validation, there.evidence.validation)
    assert (here.step, here.ended, here.stopped) == (there.step, there.ended, there.stopped) == (STEPS, STEPS, "")
    saved = load_tensors(results.folder.model)
    assert all(torch.equal(saved[name], value) for name, value in there.model.state_dict().items())


@pytest.mark.parametrize("best", [2, 6])
def test_the_model_has_the_weights_of_the_best_evaluation(best):
    seen = {}

    def assess(method, evidence, step):
        seen[step] = {name: value.clone() for name, value in method.predictor().state_dict().items()}
        return scores(method, evidence, step)

    plan = make_plan(assess=assess, score=lambda lines: -abs(lines[-1]["evaluated"] - best))
    trained = train(make_training(), plan, InMemory())
    assert (trained.step, trained.ended) == (best, STEPS)
    assert sorted(seen) == [2, 4, 6, 8]
    assert all(torch.equal(value, seen[best][name]) for name, value in trained.model.state_dict().items())
    assert any(not torch.equal(value, seen[STEPS][name]) for name, value in trained.model.state_dict().items())


def test_without_a_score_the_last_weights_are_the_models():
    assert train(make_training(), make_plan(), InMemory()).step == STEPS


def test_the_evidence_is_of_the_model_that_is_returned():
    plan = make_plan(score=lambda lines: -lines[-1]["evaluated"])
    trained = train(make_training(), plan, InMemory())
    assert torch.equal(trained.evidence.target, plan.evaluator.evidence(trained.model).target)


def test_a_collapse_stops_the_training_and_says_why(capsys):
    results = InMemory()
    plan = make_plan(collapse=lambda lines: "one class is left" if lines[-1]["step"] >= 4 else "")
    trained = train(make_training(), plan, results)
    assert (trained.ended, trained.step, trained.stopped) == (4, 4, "one class is left")
    assert results.lines[-1]["step"] == 4
    assert "adapted stopped at step 4: one class is left" in capsys.readouterr().out


def test_the_rule_of_collapse_sees_evaluations_alone():
    seen = []
    train(
        make_training(),
        make_plan(collapse=lambda lines: seen.append([line["step"] for line in lines]) or ""),
        InMemory(),
    )
    assert seen == [[2], [2, 4], [2, 4, 6], [2, 4, 6, 8]]


def test_the_class_prior_is_set_after_an_evaluation():
    training, before = make_training(), []

    def assess(method, evidence, step):
        before.append(method.class_prior.prior.tolist())
        return scores(method, evidence, step)[0], SHARES if step == 4 else None

    trained = train(training, make_plan(assess=assess), InMemory())
    uniform = pytest.approx([1 / CLASSES] * CLASSES)
    assert before == [uniform, uniform, pytest.approx(SHARES.tolist()), pytest.approx(SHARES.tolist())]
    assert torch.equal(trained.prior, SHARES)


def test_statistics_are_recomputed_on_the_images_that_are_given():
    plan = make_plan()
    trained = train(
        make_training(), replace(plan, statistics=Statistics(PIXELS[2], PREPROCESSING.normalize)), InMemory()
    )
    ordinary = train(make_training(), plan, InMemory())
    name = "backbone.1.running_mean"
    assert not torch.equal(trained.model.state_dict()[name], ordinary.model.state_dict()[name])
    assert torch.equal(trained.model.state_dict()["head.weight"], ordinary.model.state_dict()["head.weight"])


@pytest.mark.parametrize("leave", [3, 4])
def test_a_training_that_was_stopped_resumes_bit_for_bit(tmp_path, leave, capsys):
    plan = make_plan(score=lambda lines: lines[-1]["evaluated"])
    whole = train(make_training(), plan, in_folder(tmp_path / "whole"))
    results, steps = in_folder(tmp_path / "stopped"), []

    def stop() -> bool:
        steps.append(None)
        return len(steps) == leave

    with pytest.raises(StoppedError) as error:
        train(make_training(), plan, results, observer=Observer(stop=stop))
    assert results.newest().step == error.value.step < STEPS
    capsys.readouterr()
    resumed = train(make_training(), plan, results, resume=True)
    assert f"goes on after step {error.value.step}" in capsys.readouterr().out
    assert_same_model(resumed.model, whole.model)
    assert torch.equal(resumed.evidence.target, whole.evidence.target)
    assert (resumed.step, resumed.ended) == (whole.step, whole.ended)
    of_whole = in_folder(tmp_path / "whole").lines_until(STEPS)
    assert [line["step"] for line in results.lines_until(STEPS)] == [line["step"] for line in of_whole]


def test_an_observer_hears_of_each_line_and_each_evaluation():
    lines, evaluations = [], []
    observer = Observer(
        on_line=lambda line: lines.append(line["step"]),
        on_evidence=lambda name, step, evidence: evaluations.append((name, step, len(evidence.target))),
        progress=False,
    )
    train(make_training(), make_plan(), InMemory(), observer=observer)
    assert lines == [*range(1, STEPS + 1)]
    assert evaluations == [("adapted", step, 20) for step in (2, 4, 6, 8)]


def test_a_quiet_training_prints_nothing(capsys):
    train(make_training(), make_plan(collapse=lambda lines: "enough"), InMemory(), observer=Observer(progress=False))
    assert capsys.readouterr().out == ""
