import json

import pytest

from dalib.engine.keep import KeepBest, kept_step, lines_until, mean_over_steps, most_confident


def write_lines(path, *lines):
    path.write_text("".join(json.dumps({"step": step, "mask_rate": rate}) + "\n" for step, rate in lines))


def keep_most_confident(folder, save):
    return KeepBest(folder / "kept", folder / "m", lambda lines: most_confident(lines, every=10), save)


@pytest.fixture
def saved(tmp_path):
    """A list of the folders that were saved to, and a way to save."""
    folders = []
    return folders, folders.append


def test_a_mean_over_steps_weighs_each_line_by_the_steps_that_it_covers(tmp_path):
    write_lines(tmp_path / "m", (10, 0.1), (20, 0.2), (30, 0.9), (35, 0.3), (40, 0.0))
    assert mean_over_steps(lines_until(tmp_path / "m", 40), "mask_rate", 20, 35) == pytest.approx(
        (0.9 * 10 + 0.3 * 5) / 15
    )


def test_a_line_that_begins_before_the_range_counts_with_its_steps_inside_alone(tmp_path):
    write_lines(tmp_path / "m", (10, 1.0), (30, 0.5), (40, 0.0))
    assert mean_over_steps(lines_until(tmp_path / "m", 40), "mask_rate", 20, 40) == pytest.approx(0.25)


def test_the_most_confident_evaluation_is_kept(tmp_path, saved):
    folders, save = saved
    keep = keep_most_confident(tmp_path, save)
    lines = []
    for step, rate in ((10, 0.2), (20, 0.8), (30, 0.5), (40, 0.8)):
        lines.append((step, rate))
        write_lines(tmp_path / "m", *lines)
        keep(step)
    assert folders == [tmp_path / "kept" / "model"] * 2  # at 10 and 20; the tie at 40 keeps the earlier
    assert kept_step(tmp_path / "kept") == 20


def test_without_a_mask_the_confident_share_at_the_evaluation_counts():
    assert most_confident([{"step": 10, "target_mask_rate": 0.4}], every=10) == 0.4
    assert most_confident([{"step": 10, "target_mask_rate": 0.4, "mask_rate": 0.6}], every=10) == 0.6


def test_a_last_step_between_evaluations_is_judged_by_the_steps_since_the_one_before(tmp_path, saved):
    _, save = saved
    keep = keep_most_confident(tmp_path, save)
    write_lines(tmp_path / "m", (10, 0.9))
    keep(10)
    write_lines(tmp_path / "m", (10, 0.9), (13, 0.95))
    keep(13)
    assert kept_step(tmp_path / "kept") == 13


def test_a_training_that_goes_on_keeps_what_one_that_never_stopped_keeps(tmp_path, saved):
    _, save = saved
    write_lines(tmp_path / "m", (10, 0.9), (20, 0.5))
    for step in (10, 20):
        keep_most_confident(tmp_path, save)(step)
    # killed after 20 with its last checkpoint at 5: the same lines are written and judged again
    for step in (10, 20):
        keep_most_confident(tmp_path, save)(step)
    assert kept_step(tmp_path / "kept") == 10


def test_a_score_that_is_no_number_is_never_better(tmp_path, saved):
    folders, save = saved
    keep = KeepBest(tmp_path / "kept", tmp_path / "m", lambda lines: lines[-1]["mask_rate"], save)
    for step, rate in ((10, 0.1), (20, float("-inf")), (30, float("nan")), (40, 0.2)):
        write_lines(tmp_path / "m", (step, rate))
        keep(step)
    assert len(folders) == 2
    assert kept_step(tmp_path / "kept") == 40


def test_the_score_sees_no_line_of_a_later_step(tmp_path):
    write_lines(tmp_path / "m", (10, 0.9), (20, 0.1), (30, 0.95))
    assert [line["step"] for line in lines_until(tmp_path / "m", 20)] == [10, 20]
