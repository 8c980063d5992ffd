import math
from functools import partial

from dalib.judge.selection import ranked
from dalib.judge.selection import trusted_correlation as trusted_correlation_of

trusted_correlation = partial(trusted_correlation_of, classes=10)


def line(correlation, accuracy):
    return {"target_corr_c": correlation, "source_validation_accuracy": accuracy}


def test_the_score_is_the_correlation_where_the_source_is_known():
    assert trusted_correlation([line(0.8, 0.9), line(0.9, 0.8)]) == 0.9


def test_a_checkpoint_that_lost_the_source_is_disqualified():
    assert trusted_correlation([line(0.8, 0.9), {"step": 3}, line(0.9, 0.15)]) == -math.inf


def test_a_checkpoint_that_paid_with_the_source_is_not():
    assert trusted_correlation([line(0.8, 0.97), line(0.9, 0.69)]) == 0.9


def test_checkpoints_close_to_the_start_are_not_trusted():
    course = [{"step": 250, "target_corr_c": 0.95}, {"step": 500, "target_corr_c": 0.94}]
    assert trusted_correlation(course[:1], after=250) == -math.inf
    assert trusted_correlation(course, after=250) == 0.94
    assert trusted_correlation(course[:1]) == 0.95


def test_without_validation_images_the_correlation_alone_counts():
    assert trusted_correlation([{"target_corr_c": 0.3}]) == 0.3


def test_runs_are_ranked_by_their_clusters_then_by_agreement_and_failures_come_last():
    scores = [{"target_class_ami": value, "target_corr_c": 0.5} for value in (0.7, 0.9, 0.9, 1.0)]
    assert ranked(scores, [0.9, 0.8, 0.9, 1.0], [False, False, False, True]) == [2, 1, 0, 3]


def test_where_a_run_has_no_features_all_are_ranked_by_their_correlation():
    scores = [{"target_class_ami": 0.9, "target_corr_c": 0.6}, {"target_corr_c": 0.7}]
    assert ranked(scores, [1.0, 1.0], [False, False]) == [1, 0]
