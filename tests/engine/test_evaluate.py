"""Which images are evaluated, and what an evaluation returns of a model."""

import torch

from dalib.data.domain_images import LabelledImages
from dalib.engine.evaluate import (
    MOST_EVALUATED,
    Evaluator,
    evaluated_rows,
    of_evaluated,
    plain_representation,
)
from dalib.models.classifier import ImageClassifier
from dalib.models.tables import TableBackbone


def labelled(images: torch.Tensor) -> LabelledImages:
    names = tuple(map(str, range(len(images))))
    return LabelledImages(images, torch.arange(len(images)) % 2, ("a", "b"), names)


def model() -> ImageClassifier:
    torch.manual_seed(0)
    return ImageClassifier(TableBackbone(3, ()), 2, None).eval()


def evaluator(validation: int = 4, target: int = 6) -> Evaluator:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(count, 3, generator=generator) for count in (validation, target)]
    return Evaluator(labelled(rows[0]), rows[1], lambda rows: rows, lambda rows: rows + 1, torch.device("cpu"))


def test_the_same_rows_are_evaluated_each_time_and_each_once():
    rows = evaluated_rows(5 * MOST_EVALUATED)
    assert torch.equal(rows, evaluated_rows(5 * MOST_EVALUATED))
    assert len(rows) == len(rows.unique()) == MOST_EVALUATED
    assert torch.equal(rows, rows.sort().values)
    assert rows.max() < 5 * MOST_EVALUATED
    assert evaluated_rows(7).tolist() == list(range(7))
    assert len(evaluated_rows(0)) == 0


def test_of_many_validation_images_some_are_evaluated_and_all_predicted_in_the_end():
    judged, network, rows = evaluator(validation=MOST_EVALUATED + 5), model(), evaluated_rows(MOST_EVALUATED + 5)
    found = judged.evidence(network)
    assert torch.equal(found.labels, judged.validation.labels[rows])
    torch.testing.assert_close(found.validation_features, judged.validation.images[rows])
    everything = judged.all_predictions(found, network)
    assert torch.equal(everything.labels, judged.validation.labels)
    torch.testing.assert_close(everything.validation[rows], found.validation)


def test_values_of_all_images_or_of_those_that_are_evaluated():
    numbers = torch.arange(MOST_EVALUATED + 5)
    assert torch.equal(of_evaluated(numbers, len(numbers)), numbers)
    assert torch.equal(of_evaluated(numbers, MOST_EVALUATED), evaluated_rows(len(numbers)))


def test_each_domain_is_predicted_by_its_own_plain_view():
    judged, network = evaluator(), model()
    found = judged.evidence(network)
    with torch.inference_mode():
        torch.testing.assert_close(found.target, network(judged.target + 1).softmax(dim=1))
        torch.testing.assert_close(found.validation, network(judged.validation.images).softmax(dim=1))
    torch.testing.assert_close(found.target_features, judged.target + 1)
    torch.testing.assert_close(found.validation_features, judged.validation.images)
    assert torch.equal(found.labels, judged.validation.labels)


def test_a_student_is_predicted_beside_its_teacher_and_not_beside_itself():
    judged, network, student = evaluator(), model(), model()
    with torch.no_grad():
        student.head.weight += 1
    assert judged.evidence(network).student is None
    assert judged.evidence(network, network).student is None
    with torch.inference_mode():
        expected = student(judged.target + 1).softmax(dim=1)
    torch.testing.assert_close(judged.evidence(network, student).student, expected)


def test_without_validation_images_there_are_no_rows_of_them():
    found = evaluator(validation=0).evidence(model())
    assert (found.validation.shape, found.validation_features.shape) == ((0, 2), (0, 3))


def test_of_many_images_the_evaluation_reads_some_and_the_end_all():
    judged, network = evaluator(target=MOST_EVALUATED + 50), model()
    found = judged.evidence(network)
    assert len(found.target) == MOST_EVALUATED
    told = []
    whole = judged.all_predictions(found, network, lambda done, total: told.append((done, total)))
    assert len(whole.target) == MOST_EVALUATED + 50
    torch.testing.assert_close(whole.target[evaluated_rows(MOST_EVALUATED + 50)], found.target)
    torch.testing.assert_close(whole.validation, found.validation)
    assert told[-1] == (4, 4)
    assert (MOST_EVALUATED + 50,) * 2 in told


def test_a_plain_representation_is_the_mean_over_the_views():
    source, target = torch.randn(5, 2, 3), torch.randn(4, 2, 3)
    found = plain_representation(labelled(source.half()), target.half())
    torch.testing.assert_close(found.target, target.half().float().mean(dim=1))
    torch.testing.assert_close(found.source, source.half().float().mean(dim=1))
    assert torch.equal(found.labels, torch.arange(5) % 2)


def test_a_plain_representation_may_be_of_chosen_rows():
    source, target = torch.randn(5, 2, 3), torch.randn(9000, 2, 3)
    found = plain_representation(labelled(source), target, torch.arange(9000).flip(0))
    torch.testing.assert_close(found.target, target.mean(dim=1).flip(0))
