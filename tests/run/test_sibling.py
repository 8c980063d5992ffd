"""The source-only model of another run: when it is the same, and what is taken over."""

import json
from dataclasses import replace

import pytest

from dalib.records.folder import RunFolder
from dalib.records.summary import Summary
from dalib.run.sibling import differences, take_over

BEFORE = Summary(
    settings={
        "seed": 0,
        "target": "a",
        "evaluate": None,
        "method": "self-ensemble",
        "steps": 8,
        "baseline_steps": None,
    },
    fingerprints={"source": "x", "target": "y"},
)


def with_settings(**settings):
    return replace(BEFORE, settings={**BEFORE.settings, **settings})


@pytest.mark.parametrize(
    "now",
    [
        with_settings(target="b", evaluate="c"),
        with_settings(steps=9, baseline_steps=8),
        replace(BEFORE, fingerprints={"source": "x", "target": "z"}),
    ],
)
def test_another_target_changes_no_source_only_training(now):
    assert differences(BEFORE, now) == []


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (with_settings(seed=1), "seed was 0, is 1"),
        (with_settings(steps=9), "it has 9 steps and not 8"),
        (replace(BEFORE, fingerprints={"source": "z"}), "the source's images changed"),
        (replace(BEFORE, ranges={"source": (0, 4095), "target": None}), "the range of the source's images changed"),
        (replace(BEFORE, contents={"weights": "w"}), "the files of weights changed"),
        (replace(BEFORE, torch="9"), "the version of torch changed"),
    ],
)
def test_whatever_else_a_source_only_training_depends_on_tells_them_apart(now, message):
    assert differences(BEFORE, now) == [message]


@pytest.fixture
def runs(tmp_path):
    theirs, own = (RunFolder(tmp_path / name).source_only for name in ("first", "second"))
    theirs.checkpoints.mkdir(parents=True)
    (theirs.checkpoints / "step-000000008.pt").write_bytes(b"weights")
    theirs.metrics.write_text('{"step": 8, "loss": 0.5, "target_classes": 3.0}\n')
    return theirs, own


def test_the_last_checkpoint_and_the_metrics_of_the_source_are_taken_over(runs):
    theirs, own = runs
    assert take_over(BEFORE, theirs, own)
    assert [path.name for path in own.checkpoints.iterdir()] == ["step-000000008.pt"]
    assert (own.checkpoints / "step-000000008.pt").read_bytes() == b"weights"
    assert json.loads(own.metrics.read_text()) == {"step": 8, "loss": 0.5}  # nothing of the other run's target


def test_a_training_that_has_not_ended_or_another_that_has_begun_stay_as_they_are(runs):
    theirs, own = runs
    assert not take_over(with_settings(steps=9), theirs, own)
    own.checkpoints.mkdir(parents=True)
    (own.checkpoints / "step-000000002.pt").write_bytes(b"own")
    assert not take_over(BEFORE, theirs, own)
    assert [path.name for path in own.checkpoints.iterdir()] == ["step-000000002.pt"]
