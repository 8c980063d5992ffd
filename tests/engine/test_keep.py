import json
import math
from dataclasses import dataclass

import pytest
from torch import nn

from dalib.engine.keep import keep_if_better, mean_over_steps, most_confident
from dalib.engine.results import InFolder, InMemory
from dalib.records.folder import TrainingFolder


@dataclass
class Saved:
    """Results in a folder, and the folders that models were written into."""

    results: InFolder
    folders: list

    def lines(self, *lines):
        path = self.results.folder.metrics
        path.write_text("".join(json.dumps({"step": step, "mask_rate": rate}) + "\n" for step, rate in lines))

    def keep(self, step, score=lambda lines: most_confident(lines, every=10)):
        keep_if_better(self.results, step, score(self.results.lines_until(step)), lambda: nn.Identity())

    @property
    def step(self):
        return self.results.kept().step


@pytest.fixture
def saved(tmp_path):
    folders = []
    return Saved(InFolder(TrainingFolder(tmp_path), lambda folder, model: folders.append(folder)), folders)


def test_a_mean_over_steps_weighs_each_line_by_the_steps_that_it_covers(saved):
    saved.lines((10, 0.1), (20, 0.2), (30, 0.9), (35, 0.3), (40, 0.0))
    assert mean_over_steps(saved.results.lines_until(40), "mask_rate", 20, 35) == pytest.approx(
        (0.9 * 10 + 0.3 * 5) / 15
    )


def test_a_line_that_begins_before_the_range_counts_with_its_steps_inside_alone(saved):
    saved.lines((10, 1.0), (30, 0.5), (40, 0.0))
    assert mean_over_steps(saved.results.lines_until(40), "mask_rate", 20, 40) == pytest.approx(0.25)


def test_the_most_confident_evaluation_is_kept(saved, tmp_path):
    lines = []
    for step, rate in ((10, 0.2), (20, 0.8), (30, 0.5), (40, 0.8)):
        lines.append((step, rate))
        saved.lines(*lines)
        saved.keep(step)
    assert saved.folders == [tmp_path / "kept" / "model"] * 2  # at 10 and 20; the tie at 40 keeps the earlier
    assert saved.step == 20


@pytest.mark.parametrize("undefined", [math.nan, -math.inf, math.inf])
def test_a_score_that_is_not_finite_gives_way_to_the_first_finite_one_and_never_comes_back(saved, undefined):
    kept = []
    for step, value in ((10, undefined), (20, undefined), (30, -5.0), (40, undefined), (50, 0.5)):
        saved.lines((step, 0.0))
        saved.keep(step, lambda lines, value=value: value)
        kept.append(saved.step)
    assert kept == [10, 10, 30, 30, 50]


def test_without_a_mask_the_confident_share_at_the_evaluation_counts():
    assert most_confident([{"step": 10, "target_mask_rate": 0.4}], every=10) == 0.4
    assert most_confident([{"step": 10, "target_mask_rate": 0.4, "mask_rate": 0.6}], every=10) == 0.6


def test_a_last_step_between_evaluations_is_judged_by_the_steps_since_the_one_before(saved):
    saved.lines((10, 0.9))
    saved.keep(10)
    saved.lines((10, 0.9), (13, 0.95))
    saved.keep(13)
    assert saved.step == 13


def test_a_training_that_goes_on_keeps_what_one_that_never_stopped_keeps(saved):
    saved.lines((10, 0.9), (20, 0.5))
    for step in (10, 20):
        saved.keep(step)
    # killed after 20 with its last checkpoint at 5: the same lines are written and judged again
    for step in (10, 20):
        saved.keep(step)
    assert saved.step == 10


def test_a_score_that_is_no_number_is_never_better(saved):
    for step, rate in ((10, 0.1), (20, float("-inf")), (30, float("nan")), (40, 0.2)):
        saved.lines((step, rate))
        saved.keep(step, lambda lines: lines[-1]["mask_rate"])
    assert len(saved.folders) == 2
    assert saved.step == 40


def test_the_score_sees_no_line_of_a_later_step(saved):
    saved.lines((10, 0.9), (20, 0.1), (30, 0.95))
    assert [line["step"] for line in saved.results.lines_until(20)] == [10, 20]


def test_memory_keeps_as_a_folder_does_and_a_copy_of_the_weights():
    results, model = InMemory(), nn.Linear(2, 1)
    for step, rate in ((10, 0.5), (20, 0.9), (30, 0.4)):
        results.add({"step": step, "mask_rate": rate})
        nn.init.constant_(model.weight, step)
        keep_if_better(results, step, rate, lambda: model)
    assert results.kept().step == 20
    assert results.kept_weights()["weight"].tolist() == [[20.0, 20.0]]
