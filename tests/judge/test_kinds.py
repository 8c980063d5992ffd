import math

import pytest
import torch

from dalib.judge.evidence import Evidence
from dalib.judge.kinds import TargetKind, kind_of_target, tail
from dalib.records.summary import RecordedKind


def said(sure, unsure, *, validation=40, classes=6):
    """A model that is certain of all validation images and of some of the target's, and hardly of the others."""

    def predictions(count, logit):
        logits = torch.zeros(count, classes)
        logits[:, 0] = logit
        return logits.softmax(dim=1)

    target = torch.cat([predictions(sure, 6.0), predictions(unsure, 1.0)])
    return Evidence(predictions(validation, 6.0), torch.zeros(validation, dtype=torch.int64), target)


def test_absent_classes_speak_for_fewer_and_one_alone_does_not():
    kinds = {absent: kind_of_target(absent, 31, None) for absent in (0, 1, 2, 5, 21)}
    assert [kinds[absent].believed for absent in kinds] == ["same", "same", "same", "fewer", "fewer"]
    assert kind_of_target(2, 10, None).believed == "same"
    assert kind_of_target(3, 10, None).believed == "fewer"
    for kind in kinds.values():
        assert kind.same + kind.fewer + kind.other == pytest.approx(1)


def test_a_long_tail_of_uncertain_images_speaks_for_other():
    assert kind_of_target(0, 6, said(100, 0)).other < 0.1
    assert kind_of_target(0, 6, said(70, 30)).believed == "other"


@pytest.mark.parametrize("model", [said(70, 30, validation=10), said(3, 2), said(70, 30, classes=3), None])
def test_too_little_to_tell_of_other_images_speaks_for_the_same(model):
    classes = 6 if model is None else model.target.shape[1]
    kind = kind_of_target(0, classes, model)
    assert kind.other == 0
    assert kind.believed == "same"


def test_the_tail_compares_quantiles_of_certainty():
    assert tail(torch.eye(4)) == 0
    assert tail(torch.full((4, 4), 0.25)) == pytest.approx(0, abs=1e-6)
    mixed = torch.cat([torch.eye(4), torch.full((4, 4), 0.25)])
    assert tail(mixed) == pytest.approx(math.log(1e-3))


def test_words_say_probabilities_and_what_was_believed():
    assert TargetKind(0.02, 0.97, 0.01).in_words() == (
        "What the target seems to be, before adaptation: the source's classes 2%, fewer of them 97%, "
        "other images too 1%, which hard images can cause as well; the adaptation expects fewer classes"
    )
    assert (
        "classes over 99%, fewer of them under 1%, nothing to tell other images by (that takes 20 validation images"
        in (TargetKind(1.0, 0.0, 0.0).in_words())
    )


def test_a_record_of_an_estimate_says_that_it_is_one():
    kind = kind_of_target(0, 300, None)
    assert kind.same == 1
    assert kind.recorded.estimated
    assert not TargetKind(1.0, 0.0, 0.0).recorded.estimated
    assert TargetKind(0.02, 0.97, 0.01).recorded == RecordedKind("fewer", 0.02, 0.97, 0.01)
