"""What hints are worth: learned from agreement, nothing for noise, nothing for copies."""

import math

import pytest
import torch

from dalib.judge.annotator import Annotator, fit_annotator, sharpened

CLASSES, IMAGES = 5, 500


def one_hot(labels):
    return torch.nn.functional.one_hot(labels, CLASSES).double()


@pytest.fixture(scope="module")
def made():
    """True classes, and the labels of a model (55% right) and of a teacher that has mended half of its mistakes."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(CLASSES, (IMAGES,), generator=generator)
    model = labels_right(truth, 0.55)
    mended = torch.where(torch.arange(IMAGES) % 2 == 0, 0.9, 0.3)  # where it is sure, mostly
    teacher = torch.where(torch.rand(IMAGES, generator=generator) < mended, truth, model)
    return truth, model, teacher


def labels_right(truth, share):
    generator = torch.Generator().manual_seed(round(1000 * share))
    other = (truth + torch.randint(1, CLASSES, truth.shape, generator=generator)) % CLASSES
    return torch.where(torch.rand(len(truth), generator=generator) < share, truth, other)


def beliefs_of(labels):
    """Predictions of these labels, of which every second one is sure."""
    sure = torch.where(torch.arange(len(labels)) % 2 == 0, 0.9, 0.4).double()[:, None]
    return sure * one_hot(labels) + (1 - sure) / CLASSES


def accuracy(annotator, teacher, hints, truth, originals):
    refined = beliefs_of(teacher).log() + annotator.log_likelihood(hints, originals)
    return float((refined.argmax(dim=1) == truth).double().mean())


NO_ORIGINALS = torch.zeros(IMAGES, 0, CLASSES)


def test_the_likelihood_of_a_label_is_by_hand_its_column_of_the_confusion_matrix_over_its_share():
    confusion = torch.tensor([[0.8, 0.2], [0.3, 0.7]], dtype=torch.float64)
    shares = torch.tensor([0.6, 0.4], dtype=torch.float64)
    annotator = Annotator(confusion, shares, torch.tensor([0.0]), torch.ones(2), 1.0, 1.0)
    hints = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]], dtype=torch.float64)
    found = annotator.log_likelihood(hints, torch.zeros(3, 1, 2)).exp()
    of_first, of_second = [0.8 / 0.6, 0.3 / 0.6], [0.2 / 0.4, 0.7 / 0.4]
    halves = [(a + b) / 2 for a, b in zip(of_first, of_second, strict=True)]
    assert found.tolist() == [pytest.approx(of_first), pytest.approx(halves), [1.0, 1.0]]


def test_a_copy_says_as_much_for_each_class():
    confusion, half = torch.eye(2, dtype=torch.float64), torch.full((2,), 0.5, dtype=torch.float64)
    original = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    for copied, expected in ((0.0, 1.0), (0.5, 2 / 3), (1.0, 0.5)):
        annotator = Annotator(confusion, half, torch.tensor([copied]), torch.ones(2), 1.0, 1.0)
        found = annotator.log_likelihood(torch.tensor([[1.0, 0.0]]).double(), original).softmax(dim=1)
        assert float(found[0, 0]) == pytest.approx(expected)


@pytest.mark.parametrize("share", [0.75, 0.9])
def test_hints_that_are_often_right_mend_a_teacher(made, share):
    truth, _, teacher = made
    hints = one_hot(labels_right(truth, share))
    annotator = fit_annotator(beliefs_of(teacher), hints)
    before = float((teacher == truth).double().mean())
    assert accuracy(annotator, teacher, hints, truth, NO_ORIGINALS) > before + (0.06 if share > 0.8 else 0)
    assert 0 < float(annotator.trust.mean()) <= 0.95


def test_hints_that_are_worse_than_the_teacher_change_nothing_that_it_is_sure_of(made):
    truth, _, teacher = made
    hints = one_hot(labels_right(truth, 0.6))
    annotator = fit_annotator(beliefs_of(teacher), hints)
    refined = beliefs_of(teacher).log() + annotator.log_likelihood(hints, NO_ORIGINALS)
    assert annotator.gain > 0
    assert torch.equal(refined.argmax(dim=1)[::2], teacher[::2])


def test_hints_that_are_always_wrong_in_one_way_help_as_much(made):
    truth, _, teacher = made
    hints = one_hot((truth + 1) % CLASSES)
    annotator = fit_annotator(beliefs_of(teacher), hints)
    assert accuracy(annotator, teacher, hints, truth, NO_ORIGINALS) > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_not_used_at_all(made, seed):
    _, _, teacher = made
    noise = one_hot(torch.randint(CLASSES, (IMAGES,), generator=torch.Generator().manual_seed(100 + seed)))
    annotator = fit_annotator(beliefs_of(teacher), noise)
    assert annotator.gain == 0
    assert annotator.trust.tolist() == [0] * CLASSES
    assert float(annotator.log_likelihood(noise, NO_ORIGINALS).std(dim=1).max()) < 1e-9


def test_hints_that_are_a_known_model_add_nothing_to_what_it_gave_the_teacher(made):
    truth, model, teacher = made
    originals = beliefs_of(model)[:, None]
    for hints in (one_hot(model), beliefs_of(model)):
        alone, against = (
            fit_annotator(beliefs_of(teacher), hints),
            fit_annotator(beliefs_of(teacher), hints, originals),
        )
        before = float((teacher == truth).double().mean())
        assert accuracy(alone, teacher, hints, truth, NO_ORIGINALS) < before - 0.05  # what the originals are for
        assert accuracy(against, teacher, hints, truth, originals) > before - 0.01
        assert float(against.copied) > 0.9
        assert float(against.worth.max()) < 0.1 < float(alone.worth.max())


def test_a_class_that_hints_do_not_know_is_trusted_less(made):
    truth, _, teacher = made
    noise = torch.randint(CLASSES, (IMAGES,), generator=torch.Generator().manual_seed(7))
    # class 0 and 1 are told at random, the others rightly
    hints = one_hot(torch.where(truth < 2, noise % 2, truth))
    annotator = fit_annotator(beliefs_of(teacher), hints)
    assert float(annotator.trust[2:].min()) > 0.9
    for_class = annotator.log_likelihood(torch.eye(CLASSES).double(), NO_ORIGINALS[:CLASSES])
    assert float(for_class[0, 0] - for_class[0, 1]) < 0.6 * float(for_class[2, 2] - for_class[2, 3])


def test_probabilities_that_are_nearly_uniform_are_sharpened(made):
    truth, _, teacher = made
    flat = (one_hot(labels_right(truth, 0.8)) * 0.05).softmax(dim=1)
    annotator = fit_annotator(beliefs_of(teacher), flat)
    assert annotator.sharpness == 64
    assert accuracy(annotator, teacher, flat, truth, NO_ORIGINALS) > 0.82
    assert sharpened(torch.tensor([[0.5, 0.25, 0.25], [0.0, 0.0, 0.0]]), 2.0).tolist() == [
        pytest.approx([2 / 3, 1 / 6, 1 / 6]),
        [0, 0, 0],
    ]


def test_few_hints_and_few_classes_are_enough(made):
    truth, _, teacher = made
    none = torch.zeros(IMAGES, CLASSES).double()
    assert fit_annotator(beliefs_of(teacher), none).gain == 0
    some = one_hot(truth)
    some[100:] = 0
    annotator = fit_annotator(beliefs_of(teacher), some)
    assert accuracy(annotator, teacher, some, truth, NO_ORIGINALS) > 0.8
    assert annotator.log_likelihood(some, NO_ORIGINALS)[100:].abs().max() == 0
    part = one_hot(truth) * (truth < 3)[:, None]
    assert math.isfinite(fit_annotator(beliefs_of(teacher), part).gain)


def test_equal_inputs_give_equal_estimates(made):
    truth, _, teacher = made
    hints = one_hot(labels_right(truth, 0.7))
    first, second = (fit_annotator(beliefs_of(teacher), hints).state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(torch.as_tensor(first[name]), torch.as_tensor(second[name])) for name in first)
