"""The summary of a run, as its end adds to it."""

import torch

from dalib.engine.train import Trained
from dalib.judge.evidence import Evidence
from dalib.models.known import KnownRule
from dalib.records.judgement import Judgement
from dalib.records.summary import Stopped, Summary
from dalib.run.summary import summary_at_end, summary_of_model, timed, with_unknown

ADAPTED = Evidence(torch.eye(2), torch.tensor([0, 0]), torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]]))
ALIGNED = Evidence(torch.eye(2), torch.tensor([0, 1]), torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]]))


def trained(stopped: str = "") -> Trained:
    return Trained(torch.nn.Identity(), ADAPTED, 7, 9, stopped, None)


def test_a_model_is_summed_up_by_its_predictions():
    found = summary_of_model(ADAPTED)
    assert found.target_histogram == (2, 1)
    assert abs(found.target_confidence - 2 / 3) < 1e-6
    assert found.source_validation_accuracy == 0.5
    none_left = Evidence(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), ADAPTED.target)
    assert summary_of_model(none_left).source_validation_accuracy is None


def test_seconds_of_a_part_join_those_before():
    first = timed(Summary(), "data", 1.5)
    assert timed(first, "adapted", 2.0).seconds == {"data": 1.5, "adapted": 2.0}
    assert first.seconds == {"data": 1.5}


def test_the_end_tells_how_many_predictions_the_adaptation_changed():
    judgement = Judgement("adapted", "helped", baseline="aligned")
    evidence = {"adapted": ADAPTED, "aligned": ALIGNED}
    found = summary_at_end(Summary(), {"adapted": trained()}, evidence, judgement, kept_best=False)
    assert (found.status, found.shipped, found.kept_step) == ("done", "adapted", None)
    assert abs(found.changed - 1 / 3) < 1e-6


def test_a_kept_step_and_a_collapse_are_told():
    judgement = Judgement("source-only", "collapsed")
    found = summary_at_end(Summary(), {"adapted": trained("one class is left")}, {}, judgement, kept_best=True)
    assert (found.status, found.stopped) == ("collapsed", Stopped(9, "one class is left"))
    assert (found.kept_step, found.changed) == (7, None)


def test_a_run_of_one_model_has_changed_nothing():
    found = summary_at_end(Summary(), {}, {}, Judgement("source-only", "alone"), kept_best=True)
    assert (found.status, found.shipped) == ("done", "source-only")
    assert (found.kept_step, found.changed, found.stopped) == (None, None, None)


def test_images_that_a_rule_takes_for_unknown_are_counted_and_are_of_no_class():
    models = {"adapted": summary_of_model(ADAPTED), "aligned": summary_of_model(ALIGNED)}
    found = with_unknown(Summary(models=models), {"adapted": ADAPTED}, {"adapted": KnownRule(0.1, 0.1)})
    assert (found.models["adapted"].target_histogram, found.models["adapted"].target_unknown) == ((1, 1), 1)
    assert found.models["aligned"] == models["aligned"]
    assert found.unknown == {"adapted": 1}
