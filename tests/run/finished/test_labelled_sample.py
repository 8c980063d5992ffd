"""What a labelled sample tells of the models: computed by hand, for a random sample and for strata."""

from dataclasses import replace

import pytest
import torch

from dalib.core.errors import UserError
from dalib.data.labels import TargetLabels
from dalib.run.finished.labelled_sample import LabelledSample, class_shares, estimates_from

ADAPTED = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
SOURCE_ONLY = torch.tensor([1, 1, 0, 0, 0, 1, 1, 1, 0, 0])
"""They differ on rows 0, 1, 8 and 9."""


def probabilities(classes, count=2, sure=0.9):
    found = torch.full((len(classes), count), (1 - sure) / (count - 1))
    found[torch.arange(len(classes)), classes] = sure
    return found


def sample(rows, labels, *, strata=None, population=None, listed=None, count=2, together=None):
    given = TargetLabels(
        torch.tensor(rows),
        torch.tensor(labels),
        listed or len(rows),
        None if strata is None else torch.tensor(strata),
        population,
    )
    models = {"adapted": probabilities(ADAPTED, count), "source-only": probabilities(SOURCE_ONLY, count)}
    return LabelledSample(given, models, "few.csv", together, 2)


def test_a_random_sample_is_one_of_the_images_on_which_models_differ_and_one_of_the_others():
    labels = sample([0, 2, 3, 8], [0, 0, 1, 1])
    assert labels.differ.nonzero().flatten().tolist() == [0, 1, 8, 9]
    assert labels.strata.tolist() == [1, 0, 0, 1]
    assert labels.population == {0: 6, 1: 4}
    assert labels.weights.tolist() == [2, 3, 3, 2]
    assert "simple random sample" in labels.design[2][0]
    found = estimates_from(labels)
    assert found.models["adapted"].value == pytest.approx((6 * 0.5 + 4 * 1) / 10)
    assert found.models["source-only"].value == pytest.approx((6 * 0.5 + 4 * 0) / 10)
    assert found.difference.value == pytest.approx(0.4)
    assert (found.differ, found.count, found.groups, found.unknown, found.open_sets) == (4, 4, None, None, None)


def test_labels_on_one_side_alone_are_one_stratum():
    labels = sample([2, 3, 4], [0, 0, 1])
    assert labels.strata.tolist() == [0, 0, 0]
    assert labels.population == {0: 10}


def test_strata_of_a_list_count_by_their_size_and_rows_that_were_taken_out_are_one_more():
    labels = sample([0, 1, 2, 5], [0, 1, 0, 1], strata=[1, 1, 0, 0], population={0: 5, 1: 4})
    assert labels.population == {0: 5, 1: 4, 2: 1}
    assert labels.design[2] == []
    found = estimates_from(labels)
    assert found.models["adapted"].unlabelled == pytest.approx(0.1)
    assert found.difference.value == pytest.approx(0)
    assert found.models["adapted"].value == pytest.approx(found.models["source-only"].value)


def test_images_without_a_label_are_told():
    labels = sample([0, 2], [0, 0], strata=[1, 0], population={0: 6, 1: 4}, listed=5)
    assert labels.design[2][0].startswith("3 of 5 images have no label")


@pytest.mark.parametrize(
    ("population", "message"),
    [({0: 60, 1: 4}, "its strata hold 64 images and the target 10"), ({0: 1, 1: 4}, "more images are labelled in")],
)
def test_strata_that_do_not_fit_the_target_are_refused(population, message):
    labels = sample([2, 3, 0], [0, 0, 0], strata=[0, 0, 1], population=population)
    with pytest.raises(UserError, match=rf"^labels='few\.csv': {message}"):
        estimates_from(labels)


def test_accuracies_differ_by_the_difference_where_no_label_is_where_models_agree():
    found = estimates_from(sample([0, 8], [0, 1]))
    one, other = found.models.values()
    assert found.difference.value == pytest.approx(0.4)
    assert one.value - other.value == pytest.approx(0.4)
    assert one.low <= one.value <= one.high


def test_models_that_agree_differ_by_nothing():
    labels = sample([0, 5], [0, 1])
    same = replace(labels, predictions=dict.fromkeys(labels.predictions, labels.predictions["adapted"]))
    found = estimates_from(same)
    assert (found.difference.value, found.difference.low, found.difference.high, found.differ) == (0, 0, 0, 0)


def test_a_mean_may_be_over_some_of_the_images():
    labels = sample([0, 2, 3, 8], [0, 0, 1, 1])
    right, some = labels.right["adapted"], torch.tensor([True, True, False, True])
    assert right.tolist() == [True, True, False, True]
    assert labels.mean(right, among=some).value == pytest.approx(1)


def test_groups_are_counted():
    together = torch.tensor([0, 0, 1, 1, 1, 2, 2, 2, 3, 3]).numpy()
    labels = sample([0, 1, 2, 8, 9], [0, 0, 0, 1, 1], together=together)
    assert labels.groups.tolist() == [0, 0, 1, 3, 3]
    assert estimates_from(labels).groups == 3


def test_unknown_images_have_a_share_and_each_model_its_measures():
    labels = sample([0, 2, 3, 8], [0, 0, 2, 2], count=3)
    found = estimates_from(labels)
    assert found.unknown.value == pytest.approx((6 * 0.5 + 4 * 0.5) / 10)
    assert list(found.open_sets) == ["adapted", "source-only"]
    none = estimates_from(sample([0, 2, 3, 8], [0, 0, 1, 1], count=3))
    assert none.unknown.value == 0, "a model that expects unknown images, and no label is one"


def test_shares_of_classes_are_those_among_known_images():
    shares = class_shares(sample([0, 2, 5, 8], [0, 0, 1, 1]))
    assert sum(share.value for share in shares) == pytest.approx(1)
    assert all(0 <= share.low <= share.value <= share.high <= 1 for share in shares)
    with_unknown = class_shares(sample([0, 2, 5, 8], [0, 0, 1, 2]))
    assert len(with_unknown) == 2
    assert sum(share.value for share in with_unknown) == pytest.approx(1)
    assert class_shares(sample([0, 2], [2, 2])) is None


def test_models_before_the_adaptation_stay_unless_there_is_none():
    labels = sample([0, 8], [0, 1])
    assert list(labels.without_adapted().predictions) == ["source-only"]
    alone = replace(labels, predictions={"adapted": labels.predictions["adapted"]})
    assert list(alone.without_adapted().predictions) == ["adapted"]
    assert estimates_from(alone).difference is None
