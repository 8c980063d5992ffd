"""Parts of several records: what they are where nothing was estimated, and in a file."""

from dataclasses import replace

import pytest

from dalib.records.content import UnexpectedError, decoded, encoded
from dalib.records.estimate import Bin, Calibration, Estimate, OpenSet, Share


def test_nothing_estimated_is_no_number_and_no_warning():
    assert encoded(Estimate()) == {
        **{"value": None, "low": None, "high": None},
        **{"method": "", "reliable": True, "reason": ""},
    }
    assert (Calibration().error, Calibration().bins, Calibration().temperature) == (None, (), None)


@pytest.mark.parametrize(
    "part",
    [
        Estimate(0.5, 0.25, 0.75, "atc", False, "few images"),
        Calibration(0.0625, (Bin(None, None, 0), Bin(0.5, 0.25, 8)), 1.5),
    ],
)
def test_a_part_is_what_was_written(part):
    assert decoded(type(part), encoded(part)) == part


def test_a_number_of_another_kind_is_refused_with_its_place():
    with pytest.raises(UnexpectedError, match=r"bins.*accuracy"):
        decoded(Calibration, {"bins": [{"confidence": 0.5, "accuracy": "half", "count": 1}]})


def test_an_open_set_tells_the_mean_over_classes_where_it_is_another_than_that_over_images():
    found = OpenSet(Share(0.692, 0.6, 0.8), 0.78, 0.77, 0.775)
    assert found.in_words() == (
        "69.2% (60.0% to 80.0%) of the known ones, 77.0% of the unknown ones, HOS 77.5% (of 78.0%, the mean over known "
        "classes)"
    )
    assert replace(found, known=0.692).in_words().endswith("HOS 77.5%")


def test_an_open_set_without_labelled_images_of_known_classes_tells_the_unknown_ones_alone():
    assert OpenSet(Share(None, None, None), None, 0.25, None).in_words() == "25.0% of the unknown ones"
