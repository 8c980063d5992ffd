"""A target of few classes is told from one that is far away, and source-only is selected there."""

import pytest
import torch

from dalib.judge.comparison import MIN_IMAGES, Comparison
from dalib.judge.evidence import Evidence
from dalib.judge.few_classes import few_classes, with_few_classes

CLASSES = ("bike", "mouse", "mug", "pen", "ruler", "stapler")


def said(counts, confidence, images=60):
    """Predictions of so many images of each class, in shares ``counts``, with one confidence."""
    labels = torch.repeat_interleave(torch.arange(6), torch.tensor(counts) * images // sum(counts))
    rest = (1 - confidence) / 5
    target = torch.full((len(labels), 6), rest).scatter(1, labels[:, None], confidence)
    return Evidence(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64), target)


ALL = [1] * 6


@pytest.mark.parametrize(
    ("before", "aligned", "adapted", "found"),
    [
        (said([0, 0, 1, 0, 0, 0], 0.85), said(ALL, 0.3), said(ALL, 0.9), True),
        (said([0, 1, 9, 0, 0, 0], 0.8), said(ALL, 0.5), said(ALL, 0.9), True),
        (said([0, 0, 1, 0, 0, 0], 0.4), said(ALL, 0.25), said(ALL, 0.7), True),  # images of none of the classes
        (said([0, 0, 1, 0, 0, 0], 0.6), said(ALL, 0.6), said(ALL, 0.9), False),  # far away: aligning helps
        (said([1, 1, 1, 0, 0, 0], 0.6), said(ALL, 0.45), said(ALL, 0.9), False),  # as chess figures
        (said(ALL, 0.85), said(ALL, 0.3), said(ALL, 0.9), False),
        (said([0, 0, 1, 0, 0, 0], 0.85), said(ALL, 0.3), said([0, 0, 1, 0, 0, 0], 0.9), False),
    ],
)
def test_few_classes_that_aligning_takes_away(before, aligned, adapted, found):
    assert (few_classes(before, aligned, adapted) is not None) == found


def test_few_images_show_nothing():
    few, every = said([0, 0, 1, 0, 0, 0], 0.85, MIN_IMAGES - 1), said(ALL, 0.3, MIN_IMAGES - 6)
    assert few_classes(few, every, every) is None


def test_source_only_is_selected_and_the_classes_are_named():
    found = few_classes(said([0, 2, 8, 0, 0, 0], 0.85), said(ALL, 0.3), said(ALL, 0.9))
    assert found.main == (2, 1)
    judged = Comparison("adapted", "helped", "It helped", ("Neighbours agree",), probability=0.95)
    changed = with_few_classes(judged, found, CLASSES)
    assert (changed.better, changed.outcome, changed.probability) == ("source-only", "hurt", None)
    (reason,) = changed.reasons
    assert "mostly mug and mouse, and the adapted model 6.0" in reason
    assert "30% confident on average, and 85% without" in reason
    collapsed = Comparison("aligned", "collapsed", "Adaptation collapsed", ())
    assert with_few_classes(collapsed, found, CLASSES) is collapsed
    assert with_few_classes(judged, None, CLASSES) is judged
