"""Signs of a collapse: each is told, and a bad moment or few images are none."""

import pytest

from dalib.judge.collapse import collapse_sign, fallen_to_chance


def line(classes=9.0, accuracy=0.9, mask=0.5, agreement=0.9):
    return {
        "target_classes": classes,
        "source_validation_accuracy": accuracy,
        "target_mask_rate": mask,
        "target_agreement": agreement,
    }


def test_a_good_training_shows_no_sign():
    assert (
        collapse_sign(
            [line(mask=rate, agreement=rate) for rate in (0.3, 0.6, 0.8, 0.9)], classes_before=9.5, classes=10
        )
        == ""
    )


@pytest.mark.parametrize(
    ("course", "reference", "expected"),
    [
        ([line(9), line(4), line(3)], None, "3.0 classes in effect, of 9.0 before"),
        ([line(2), line(1)], 9.5, "1.0 classes in effect, of 9.5 before"),
        ([line(), line(accuracy=0.17), line(accuracy=0.12)], None, "fell from 90% to 12%"),
        (
            [line(mask=0.3, agreement=0.9), line(mask=0.5, agreement=0.7), line(mask=0.9, agreement=0.4)],
            None,
            "sure of 90% of the target while the student's agreement with it fell to 40%",
        ),
    ],
)
def test_each_sign_is_told(course, reference, expected):
    assert expected in collapse_sign(course, reference, classes=10)


@pytest.mark.parametrize(
    "course",
    [
        [],
        [line(1)],
        [line(9), line(1)],
        [line(9), line(1), line(9)],
        [line(), line(accuracy=0.2), line()],
        [line(), line(accuracy=0.2)],
        [line(), line(accuracy=0.2), line(accuracy=0.2)],
        [line(mask=0.9, agreement=0.9), line(mask=0.5, agreement=0.5), line(mask=0.9, agreement=0.1)],
    ],
)
def test_one_bad_moment_or_a_price_on_the_source_is_no_sign(course):
    assert collapse_sign(course, classes_before=9.0, classes=10) == ""


def test_a_fall_on_a_few_validation_images_is_chance():
    course = [line(accuracy=0.9), line(accuracy=0.1), line(accuracy=0.1)]
    assert "fell from 90% to 10%" in collapse_sign(course, classes_before=9.0, classes=10, validated=30)
    assert collapse_sign(course, classes_before=9.0, classes=10, validated=29) == ""


def test_a_training_without_validation_images_or_a_student_is_watched_too():
    course = [{"target_classes": 5.0}, {"target_classes": 1.0}, {"target_classes": 1.0}]
    assert collapse_sign(course, classes=10)


def test_a_second_class_that_vanishes_of_two_is_a_collapse():
    assert collapse_sign([{"target_classes": 1.0}, {"target_classes": 1.0}], classes_before=1.98, classes=2)
    assert not collapse_sign([{"target_classes": 1.4}, {"target_classes": 1.4}], classes_before=1.98, classes=2)


@pytest.mark.parametrize(
    ("accuracy", "best", "classes", "expected"),
    [
        (0.56, 0.97, 6, False),  # what adapting from maps to photographs cost, for ten points on the target
        (0.31, 0.81, 6, False),  # and from photographs to aerial ones
        (0.24, 0.97, 6, True),
        (0.54, 0.97, 2, True),
        (0.25, 0.49, 10, False),  # half of it, but of a network that knew little
        (0.1, 0.1, 10, False),
        (1.0, 1.0, 1, False),
    ],
)
def test_only_a_network_that_lost_nearly_all_that_it_knew_has_fallen_to_chance(
    accuracy: float, best: float, classes: int, expected: bool
) -> None:
    assert fallen_to_chance(accuracy, best, classes) is expected
