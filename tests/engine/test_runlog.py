"""Metrics as JSON Lines: means of steps, nothing read before they are taken, later lines dropped on going on."""

import json
from pathlib import Path

import pytest
import torch

from dalib.core.errors import TrainingDivergedError
from dalib.engine.runlog import MetricsLog, last_step


def scalars(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in values.items()}


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_line_has_the_means_since_the_last(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step, (loss, rate) in enumerate([(1.0, 0.5), (3.0, 0.0), (8.0, 1.0)], start=1):
        log.record(step, scalars(loss=loss, mask_rate=rate))
        if step >= 2:
            log.write(log.take_means(10), {"accuracy": 0.25})
    first, second = lines(log.path)
    speeds = [line.pop("images_per_second") for line in (first, second)]
    assert first == {"step": 2, "loss": 2.0, "mask_rate": 0.25, "accuracy": 0.25}
    assert second == {"step": 3, "loss": 8.0, "mask_rate": 1.0, "accuracy": 0.25}
    assert all(speed > 0 for speed in speeds)


def test_the_speed_counts_images_of_all_recorded_steps(tmp_path, monkeypatch):
    clock = iter([100.0, 102.0, 102.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    log = MetricsLog(tmp_path / "metrics.jsonl")
    for step in (1, 2, 3, 4):
        log.record(step, scalars(loss=0.0))
    log.write(log.take_means(16), {})
    assert lines(log.path)[0]["images_per_second"] == 4 * 16 / 2.0


def test_the_speed_of_a_resumed_training_counts_its_own_steps_alone(tmp_path, monkeypatch):
    before = MetricsLog(None)
    for step in (1, 2, 3):
        before.record(step, scalars(loss=1.0))
    clock = iter([100.0, 102.0, 102.0, 103.0, 103.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    log = MetricsLog(tmp_path / "metrics.jsonl", after=3, pending=before.pending())
    for step in (4, 5):
        log.record(step, scalars(loss=5.0))
        if step == 4:
            log.write(log.take_means(16), {})
    log.write(log.take_means(16), {})
    assert [(line["loss"], line["images_per_second"]) for line in lines(log.path)] == [(2.0, 16 / 2.0), (5.0, 16 / 1.0)]


def test_the_speed_leaves_out_what_pauses_it(tmp_path, monkeypatch):
    clock = iter([100.0, 101.0, 151.0, 152.0, 152.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.record(1, scalars(loss=0.0))
    with log.paused():  # a checkpoint between two lines
        pass
    log.record(2, scalars(loss=0.0))
    log.write(log.take_means(16), {})
    assert lines(log.path)[0]["images_per_second"] == 2 * 16 / 2.0


def test_on_line_gets_what_is_written(tmp_path):
    seen = []
    log = MetricsLog(tmp_path / "metrics.jsonl", on_line=seen.append)
    log.record(1, scalars(loss=2.0))
    log.write(log.take_means(1), {"rate": 0.5})
    assert seen == lines(log.path)


def test_recording_reads_nothing_from_the_device(tmp_path, monkeypatch):
    def waits(*_):
        raise AssertionError("record waited for the device")

    log = MetricsLog(tmp_path / "metrics.jsonl")
    values = scalars(loss=1.0, supervised=1.0)
    with monkeypatch.context() as patch:
        for name in ("item", "tolist", "cpu", "numpy", "__float__", "__bool__", "__int__"):
            patch.setattr(torch.Tensor, name, waits)
        log.record(1, values)
        log.record(2, {name: torch.empty((), device="meta") for name in values})  # has no value to read
        with pytest.raises((AssertionError, RuntimeError)):
            log.take_means(1)


def test_recording_holds_no_graph(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    weight = torch.ones((), requires_grad=True)
    log.record(1, {"loss": weight * 2})
    assert not any(row.requires_grad for row in log._rows)
    log.write(log.take_means(1), {})
    assert lines(log.path)[0]["loss"] == 2.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.float64])
def test_scalars_of_any_type_can_be_recorded_together(tmp_path, dtype):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.record(1, {"loss": torch.tensor(0.5), "other": torch.tensor(3, dtype=dtype)})
    log.write(log.take_means(1), {})
    assert lines(log.path)[0]["other"] == 3.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_named_with_its_first_step(tmp_path, value):
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.record(6, scalars(supervised=1.0, consistency=1.0))
    log.record(7, scalars(supervised=1.0, consistency=value))
    log.record(8, scalars(supervised=value, consistency=value))
    with pytest.raises(TrainingDivergedError, match=rf"^consistency became {value} at step 7\. .*\(optimizer\.lr\)"):
        log.take_means(1)
    assert log.path.read_text() == ""


def written(path: Path, *steps: int) -> Path:
    path.write_text("".join(json.dumps({"step": step, "loss": 0.1}) + "\n" for step in steps))
    return path


@pytest.mark.parametrize(("after", "kept"), [(0, []), (49, []), (50, [50]), (120, [50, 100]), (999, [50, 100, 150])])
def test_lines_of_later_steps_are_dropped_when_training_goes_on(tmp_path, after, kept):
    path = written(tmp_path / "metrics.jsonl", 50, 100, 150)
    log = MetricsLog(path, after=after)
    log.record(after + 1, scalars(loss=1.0))
    log.write(log.take_means(1), {})
    assert [line["step"] for line in lines(path)] == [*kept, after + 1]


@pytest.mark.parametrize(
    "rest", ['{"step": 150, "lo', '{"step": 150, "loss": 0.1', "{", "\0\0\0", "\xff\xfe", "15", "{}", "[" * 9999]
)
def test_a_last_line_that_was_only_half_written_is_dropped(tmp_path, rest):
    path = written(tmp_path / "metrics.jsonl", 50, 100)
    with path.open("a", encoding="latin-1") as file:
        file.write(rest)
    MetricsLog(path, after=200)
    assert [line["step"] for line in lines(path)] == [50, 100]
    assert [each.name for each in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_the_last_step_is_that_of_the_last_whole_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert last_step(path) == 0
    written(path, 50, 100)
    with path.open("a") as file:
        file.write('{"step": 150, "lo')
    assert last_step(path) == 100
