"""Which classes are taken for which: a matrix of few classes, pairs of many, and the change of each class."""

import pytest

from dalib.records.evaluation import Evaluation, MeasuredModel
from dalib.report.mistakes import MOST_MATRIX_CLASSES, MOST_PAIRS, Pair, mistakes

CLASSES = ("a", "b")


def evaluation(classes=CLASSES, **confusions) -> Evaluation:
    models = {
        name.replace("_", "-"): MeasuredModel(
            sum(row[place] for place, row in enumerate(confusion)) / sum(map(sum, confusion)), (0.0, 1.0), confusion
        )
        for name, confusion in confusions.items()
    }
    return Evaluation("digits", 20, models, tuple(classes))


def test_few_classes_have_a_matrix_for_each_model_the_adapted_first():
    found = mistakes(evaluation(source_only=((6, 4), (5, 5)), adapted=((9, 1), (0, 10))))
    assert found.few_classes
    assert [each.model.name for each in found.models] == ["adapted", "source-only"]
    cells = [[(cell.count, cell.right) for cell in row.cells] for row in found.models[0].matrix]
    assert cells == [[(9, True), (1, False)], [(0, False), (10, True)]]
    assert not found.models[0].pairs


def test_the_change_of_each_class_is_in_points():
    found = mistakes(evaluation(source_only=((6, 4), (5, 5)), adapted=((9, 1), (0, 10))))
    assert [(change.name, change.count) for change in found.changes] == [("a", 10), ("b", 10)]
    assert [change.points for change in found.changes] == pytest.approx([30, 50])
    assert [(change.before, change.after) for change in found.changes] == [(0.6, 0.9), (0.5, 1.0)]


def test_the_change_is_from_the_better_model_without_adaptation_and_names_it():
    found = mistakes(
        evaluation(source_only=((6, 4), (5, 5)), aligned=((8, 2), (5, 5)), adapted=((9, 1), (0, 10))),
    )
    assert found.baseline == "aligned"
    assert [change.before for change in found.changes] == [0.8, 0.5]


def test_one_model_alone_has_changed_nothing():
    assert mistakes(evaluation(adapted=((9, 1), (0, 10)))).changes == []


def test_many_classes_have_the_most_frequent_mistakes():
    count = MOST_MATRIX_CLASSES + 1
    classes = [f"class {number}" for number in range(count)]
    # class 0 is right twice; class i is taken for class 0 in i of 2 i images
    confusion = tuple(
        tuple((2 if row == 0 else row) if row == column else row if column == 0 else 0 for column in range(count))
        for row in range(count)
    )
    found = mistakes(evaluation(classes, adapted=confusion))
    assert not found.few_classes
    assert found.long_names
    (model,) = found.models
    assert model.matrix == []
    assert len(model.pairs) == MOST_PAIRS
    assert model.pairs[0] == Pair(classes[-1], classes[0], count - 1, 0.5)


def test_names_of_two_letters_lie_over_their_columns():
    assert not mistakes(evaluation(adapted=((1, 0), (0, 1)))).long_names
