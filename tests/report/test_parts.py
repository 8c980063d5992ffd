import pytest

from dalib.records.metrics import MetricsLine
from dalib.report.parts import LOOKS, loss_parts


def line(step=25, **values):
    found = MetricsLine.from_json({"step": step, **values})
    assert found is not None
    return found


def test_known_parts_keep_their_looks_with_or_without_the_loss():
    values = {"supervised": 1.0, "masked": 0.25, "source_accuracy": 0.5}
    assert loss_parts([line(**values)]) == {"supervised": "one", "masked": "five"}
    assert loss_parts([line(**values, loss=1.25)]) == {"supervised": "one", "masked": "five"}
    assert loss_parts([]) == {}


def test_a_part_that_nobody_knows_is_found_by_the_sum_and_takes_a_free_look():
    values = {"supervised": 1.0, "transport": 0.5, "mask_rate": 0.9, "loss": 1.5, "rate": 0.1}
    assert loss_parts([line(**values)]) == {"supervised": "one", "transport": "two"}


def test_a_metric_that_is_zero_in_a_line_is_no_part():
    lines = [
        line(supervised=1.0, transport=0.5, sureness=0.0, loss=1.5),
        line(50, supervised=0.5, transport=0.5, sureness=0.25, loss=1.0),
    ]
    assert loss_parts(lines) == {"supervised": "one", "transport": "two"}


def test_a_part_that_is_zero_at_first_is_one_all_the_same():
    lines = [
        line(supervised=1.0, transport=0.0, sureness=0.5, loss=1.0),
        line(50, supervised=0.5, transport=0.5, sureness=0.5, loss=1.0),
    ]
    assert list(loss_parts(lines)) == ["supervised", "transport"]


def test_looks_are_taken_again_where_there_are_more_parts_than_looks():
    values = {f"part_{number}": 1.0 for number in range(12)}
    found = loss_parts([line(**values, loss=12.0)])
    assert list(found) == list(values)
    assert set(found.values()) == set(LOOKS.values())


@pytest.mark.parametrize("loss", [None, "1.0", True, 7.0])
def test_a_loss_that_says_nothing_leaves_the_known_parts(loss):
    assert loss_parts([line(supervised=1.0, transport=0.5, loss=loss)]) == {"supervised": "one"}
