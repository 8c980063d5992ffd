"""The loop: a training that was stopped goes on as if it never had been."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.amp import GradScaler

from dalib.adaptation.self_ensemble import SelfEnsemble
from dalib.adaptation.source_only import SourceOnly
from dalib.augment.views import View, tfa_operations
from dalib.core.errors import StoppedError, TrainingDivergedError
from dalib.core.types import Batch, Losses, Method
from dalib.data.preprocessing import Preprocessing
from dalib.data.stream import DomainViews, Sampling, TwoDomainStream
from dalib.engine.checkpoint import CheckpointFolder
from dalib.engine.fit import Every, Training, fit, restore
from dalib.engine.runlog import MetricsLog
from dalib.models.classifier import ImageClassifier

CPU = torch.device("cpu")
CLASSES, STEPS = 3, 8
OFTEN = Every(log=1, evaluate=4, checkpoint=4)


def classifier() -> ImageClassifier:
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3))
    backbone.out_features = 4
    return ImageClassifier(backbone, CLASSES, bottleneck_dim=5, finetune=True)


METHODS = {
    "source only": SourceOnly,
    "self-ensemble": lambda student: SelfEnsemble(
        student, CLASSES, alpha=0.9, alpha_warmup=True, threshold=0.0, ramp_up_steps=5, class_balance_weight=0.1
    ),
}
every_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)


def falling(step: int) -> float:
    return 1 - step / STEPS


@dataclass
class Process:
    """Everything that a process makes anew when it starts."""

    folder: Path
    method: Method
    optimizer: torch.optim.Optimizer
    stream: TwoDomainStream
    checkpoints: CheckpointFolder
    pending: dict[str, Any] | None = None

    def run(self, start: int = 0, steps: int = STEPS, every: Every = OFTEN, **settings: Any) -> None:
        log = MetricsLog(self.folder / "metrics.jsonl", after=start, pending=self.pending)
        of_fit = {"evaluate": self.weight_sum, "every": every, "start": start, "checkpoints": self.checkpoints}
        of_fit |= {name: settings.pop(name) for name in ("evaluate", "after_evaluation", "stop") if name in settings}
        fit(self.computing(steps, **settings), log, **of_fit)

    def computing(self, steps: int = STEPS, **settings: Any) -> Training:
        settings = {"schedule": falling, "seed": 7, **settings}
        return Training(self.method, self.optimizer, self.stream, steps=steps, **settings)

    def restored(self) -> int:
        checkpoint = self.checkpoints.newest(CPU)
        if checkpoint is None:
            return 0
        restore(self.computing(), checkpoint)
        self.pending = checkpoint.log
        return checkpoint.step

    def weight_sum(self, step=0) -> dict[str, float]:
        return {
            "weight_sum": float(sum(parameter.detach().sum() for parameter in self.method.predictor().parameters()))
        }

    def state(self) -> dict[str, Any]:
        return {"method": self.method.state_dict(), "optimizer": self.optimizer.state_dict()}

    def lines(self) -> list[dict[str, float]]:
        lines = [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]
        for line in lines:
            del line["images_per_second"]
        return lines


def training(folder: Path, make=SourceOnly, weights: int = 0) -> Process:
    folder.mkdir(exist_ok=True)
    pixels = torch.Generator().manual_seed(1)
    source, target = torch.randint(0, 256, (2, 20, 1, 8, 8), generator=pixels, dtype=torch.uint8)
    with torch.random.fork_rng([]):
        torch.manual_seed(weights)
        method = make(classifier())
    groups = [{**group, "initial_lr": group["lr"]} for group in method.student.get_parameters(0.01)]
    view = View(Preprocessing(8, 1).normalize, tfa_operations())
    stream = TwoDomainStream(
        source,
        torch.arange(20) % CLASSES,
        target,
        views=DomainViews(view, (view,) * method.target_views),
        sampling=Sampling(batch=6, seed=3),
        device=CPU,
    )
    return Process(folder, method, torch.optim.Adam(groups), stream, CheckpointFolder(folder / "checkpoints"))


def flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {name: leaf for key, part in items for name, leaf in flat(part, f"{path}/{key}").items()}
    return {path: value}


def assert_bit_for_bit(one: Any, other: Any) -> None:
    one, other = flat(one), flat(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        same = torch.equal(value, other[name]) if isinstance(value, torch.Tensor) else value == other[name]
        assert same, name


class PowerCutError(Exception):
    """Ends a training where it stands."""


def kill_at(stopped: Process, step: int) -> None:
    whole = stopped.stream.batch_at

    def batch_at(asked: int) -> Batch:
        if asked == step:
            raise PowerCutError
        return whole(asked)

    stopped.stream.batch_at = batch_at


@every_method
@pytest.mark.parametrize("killed_at", [4, 6, 7])
def test_stopped_restored_and_gone_on_with_is_never_stopped(tmp_path, make, killed_at):
    whole = training(tmp_path / "whole", make)
    whole.run()

    stopped = training(tmp_path / "stopped", make)
    kill_at(stopped, killed_at)
    with pytest.raises(PowerCutError):
        stopped.run()
    torch.rand(5)  # a new process has another state of the global generator

    resumed = training(tmp_path / "stopped", make, weights=99)
    assert resumed.restored() == 4
    resumed.run(start=4)

    assert_bit_for_bit(resumed.state(), whole.state())
    assert resumed.lines() == whole.lines()
    assert [line["step"] for line in whole.lines()] == list(range(1, STEPS + 1))


@every_method
@pytest.mark.parametrize("stopped_at", [1, 3, 4, 7])
def test_a_stop_saves_the_step_it_ends_at_and_what_was_not_logged_yet(tmp_path, make, stopped_at):
    seldom = Every(log=5, evaluate=4, checkpoint=4)
    whole = training(tmp_path / "whole", make)
    whole.run(every=seldom)

    stopped = training(tmp_path / "stopped", make)
    with pytest.raises(StoppedError) as error:
        stopped.run(every=seldom, stop=lambda step: step == stopped_at)
    assert error.value.step == stopped_at

    resumed = training(tmp_path / "stopped", make, weights=99)
    assert resumed.restored() == stopped_at
    resumed.run(start=stopped_at, every=seldom)
    assert_bit_for_bit(resumed.state(), whole.state())
    assert resumed.lines() == whole.lines()


def test_a_stop_at_the_last_step_is_no_stop(tmp_path):
    one = training(tmp_path)
    one.run(stop=lambda step: step == STEPS)
    assert one.checkpoints.newest(CPU).step == STEPS


@every_method
def test_in_float16_the_loss_is_scaled_and_the_scale_survives_a_stop(tmp_path, make):
    def scaler() -> GradScaler:
        return GradScaler("cpu", init_scale=2.0**40, growth_interval=2)  # too large: the first steps are skipped

    half = {"autocast": torch.float16, "evaluate": lambda step: {}}
    whole, scales = training(tmp_path / "whole", make), scaler()
    whole.run(**half, scaler=scales)
    assert scales.get_scale() < 2.0**40

    stopped = training(tmp_path / "stopped", make)
    kill_at(stopped, 6)
    with pytest.raises(PowerCutError):
        stopped.run(**half, scaler=scaler())
    resumed, again = training(tmp_path / "stopped", make, weights=99), scaler()
    restore(resumed.computing(scaler=again), resumed.checkpoints.newest(CPU))
    resumed.run(**half, scaler=again, start=4)
    assert_bit_for_bit(resumed.state(), whole.state())
    assert again.get_scale() == scales.get_scale()


@every_method
def test_training_changes_the_network_and_depends_on_the_seed(tmp_path, make):
    states = []
    for number, seed in enumerate((7, 7, 8)):
        one = training(tmp_path / str(number), make)
        before = one.method.student.head.weight.detach().clone()
        one.run(seed=seed)
        assert not torch.equal(one.method.student.head.weight, before)
        states.append(one.method.student.head.weight)
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])  # by dropout alone: the stream has a seed of its own


class Drawing(SourceOnly):
    """Logs what dropout would draw next."""

    def loss(self, batch: Batch, step: int) -> Losses:
        losses = super().loss(batch, step)
        return Losses(losses.parts, {"draw": torch.rand(())})


def test_dropout_draws_anew_at_each_step(tmp_path):
    one = training(tmp_path, Drawing)
    one.run()
    assert len({line["draw"] for line in one.lines()}) == STEPS


def test_without_a_checkpoint_training_starts_at_step_0(tmp_path):
    fresh = training(tmp_path)
    before = {name: value.clone() for name, value in fresh.method.student.state_dict().items()}
    assert fresh.restored() == 0
    assert_bit_for_bit(fresh.method.student.state_dict(), before)


@pytest.mark.parametrize("killed_at", [None, 2])
def test_torchs_global_generator_is_given_back_as_it_was(tmp_path, killed_at):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    one = training(tmp_path, METHODS["self-ensemble"])
    if killed_at is None:
        one.run()
    else:
        kill_at(one, killed_at)
        with pytest.raises(PowerCutError):
            one.run()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_learning_rate_of_each_group_follows_the_schedule_from_its_own_base(tmp_path):
    one = training(tmp_path)
    used = []
    one.optimizer.register_step_pre_hook(lambda optimizer, *_: used.append([g["lr"] for g in optimizer.param_groups]))
    one.run()
    assert used == [pytest.approx([0.001 * falling(step), 0.01 * falling(step)]) for step in range(STEPS)]
    assert [line["rate"] for line in one.lines()] == [falling(step) for step in range(STEPS)]


@pytest.mark.parametrize(
    ("steps", "every", "logged", "evaluated", "saved"),
    [
        (7, Every(log=3, evaluate=100, checkpoint=100), [3, 6, 7], [7], [7]),
        (6, Every(log=3, evaluate=3, checkpoint=3), [3, 6], [3, 6], [3, 6]),
        (5, Every(log=100, evaluate=2, checkpoint=3), [2, 3, 4, 5], [2, 4, 5], [3, 5]),
        (1, Every(), [1], [1], [1]),
    ],
)
def test_the_last_step_is_always_logged_evaluated_and_saved(tmp_path, steps, every, logged, evaluated, saved):
    one = training(tmp_path)
    one.run(steps=steps, every=every)
    assert [line["step"] for line in one.lines()] == logged
    assert [line["step"] for line in one.lines() if "weight_sum" in line] == evaluated
    assert sorted(path.name for path in one.checkpoints.folder.iterdir()) == [f"step-{step:09d}.pt" for step in saved]


def test_a_finished_training_has_nothing_left_to_do(tmp_path):
    one = training(tmp_path)
    one.run()
    before, lines = copy.deepcopy(one.state()), one.lines()
    one.run(start=STEPS)
    assert_bit_for_bit(one.state(), before)
    assert one.lines() == lines


@every_method
def test_the_log_holds_loss_parts_and_metrics(tmp_path, make):
    one = training(tmp_path, make)
    one.run(steps=1)
    (line,) = one.lines()
    expected = training(tmp_path / "again", make).method.loss(one.stream.batch_at(0), 0)
    assert line.keys() == {"step", "loss", "rate", "weight_sum", *expected.parts, *expected.metrics}
    assert line["loss"] == pytest.approx(sum(line[part] for part in expected.parts), rel=1e-5)


class Diverging(SourceOnly):
    """One of its two parts is no longer finite from a step on."""

    bad_from = 5
    value = float("nan")

    def loss(self, batch: Batch, step: int) -> Losses:
        losses = super().loss(batch, step)
        bad = losses.parts["supervised"] * (self.value if step >= self.bad_from else 0.5)
        return Losses({**losses.parts, "consistency": bad}, losses.metrics)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("log_every", [1, 100])
def test_divergence_stops_with_step_and_part_and_leaves_the_last_good_checkpoint(tmp_path, value, log_every):
    one = training(tmp_path, type("Diverging", (Diverging,), {"value": value}))
    with pytest.raises(TrainingDivergedError, match=rf"\bconsistency became {value} at step 6\b"):
        one.run(every=Every(log=log_every, evaluate=100, checkpoint=4))
    assert [path.name for path in one.checkpoints.folder.iterdir()] == ["step-000000004.pt"]
    again = training(tmp_path, weights=1)
    assert again.restored() == 4
    assert all(bool(value.isfinite().all()) for value in again.method.student.state_dict().values())


class Poisoning(SourceOnly):
    """Its weights become NaN after the last step, whose loss was finite."""

    def after_step(self, step: int) -> None:
        if step == 7:
            next(self.student.parameters()).data.fill_(float("nan"))


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    one = training(tmp_path, Poisoning)
    with pytest.raises(TrainingDivergedError, match="weights are not finite after step 8"):
        one.run(every=Every(log=1, evaluate=100, checkpoint=4))
    assert [path.name for path in one.checkpoints.folder.iterdir()] == ["step-000000004.pt"]


def test_a_process_that_saves_nothing_stops_at_such_weights_too(tmp_path):
    one = training(tmp_path, Poisoning)
    one.checkpoints = None
    with pytest.raises(TrainingDivergedError, match="weights are not finite after step 8"):
        one.run(every=Every(log=1, evaluate=100, checkpoint=4))


@pytest.mark.parametrize("method", [type("Diverging", (Diverging,), {"bad_from": 7}), Poisoning])
def test_a_model_that_diverged_is_not_evaluated(tmp_path, method):
    one, seen = training(tmp_path, method), []
    with pytest.raises(TrainingDivergedError, match="step 8"):
        one.run(every=Every(log=100, evaluate=4, checkpoint=100), evaluate=lambda step: seen.append(step) or {})
    assert seen == [4]


def test_what_follows_an_evaluation_finds_its_line_in_the_log(tmp_path):
    started, seen = training(tmp_path), []

    def look(step: int) -> None:
        seen.append((step, json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["step"]))

    started.run(after_evaluation=look, every=Every(log=1, evaluate=3, checkpoint=100))
    assert seen == [(3, 3), (6, 6), (8, 8)]


@every_method
def test_under_autocast_forward_passes_are_in_bfloat16_and_weights_and_losses_in_float32(tmp_path, make):
    started = training(tmp_path, make)
    seen: set[torch.dtype] = set()
    started.method.student.head.register_forward_hook(lambda module, images, output: seen.add(output.dtype))
    before = {name: tensor.clone() for name, tensor in started.method.student.named_parameters()}
    losses = started.method.loss
    parts: list[Losses] = []
    started.method.loss = lambda batch, step: parts.append(losses(batch, step)) or parts[-1]
    started.run(autocast=torch.bfloat16, evaluate=lambda step: {})
    assert seen == {torch.bfloat16}
    assert {part.dtype for loss in parts for part in loss.parts.values()} == {torch.float32}
    after = dict(started.method.student.named_parameters())
    assert {tensor.dtype for tensor in after.values()} == {torch.float32}
    assert any(not torch.equal(before[name], after[name]) for name in before)


def plain_classifier() -> ImageClassifier:
    """Without batch normalisation and dropout, so that a batch in parts has the gradient of the whole."""
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh())
    backbone.out_features = 4
    return ImageClassifier(backbone, CLASSES, bottleneck_dim=None)


@pytest.mark.parametrize("parts", [2, 3, 4, 6])  # four are of two images and of one
def test_a_step_in_parts_is_the_step_at_once(parts, tmp_path):
    def make(student: nn.Module) -> SelfEnsemble:
        return SelfEnsemble(plain_classifier().double(), CLASSES, alpha=0.9, threshold=0.0, class_balance_weight=0.0)

    class Doubled(TwoDomainStream):
        def batch_at(self, step: int) -> Batch:
            batch = super().batch_at(step)
            return Batch(batch.source.double(), batch.labels, tuple(view.double() for view in batch.target))

    results = []
    for accumulate in (1, parts):
        one = training(tmp_path / str(accumulate), make)
        one.stream.__class__ = Doubled
        one.run(accumulate=accumulate)
        results.append((one.method.student.state_dict(), one.lines()))
    (whole, lines), (accumulated, lines_of_parts) = results
    for name, weights in whole.items():
        torch.testing.assert_close(accumulated[name], weights, rtol=1e-9, atol=1e-9)
    for line, of_parts in zip(lines, lines_of_parts, strict=True):
        assert of_parts == pytest.approx(line, rel=1e-5)


def test_more_parts_than_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="count: expected 1 to 6"):
        training(tmp_path / "run").run(accumulate=7)
