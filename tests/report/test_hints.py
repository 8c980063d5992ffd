"""Hints in the report: sentences, and the classes that are named most often."""

from dalib.records.hints import HintedClass, Hints
from dalib.report.hints import hints_table


def test_the_classes_that_are_named_most_often_come_first_and_others_are_counted():
    rows = tuple(HintedClass(f"c{number}", number) for number in range(50))
    table = hints_table(Hints(50, 50, gain=0.1, better=0.8, classes=rows))
    assert (table.rows[0].name, len(table.rows), table.left_out) == ("c49", 40, 10)
    assert "better than the hints with a probability of 80%" in table.sentences[1]


def test_a_run_without_hints_has_no_table():
    assert hints_table(None) is None
