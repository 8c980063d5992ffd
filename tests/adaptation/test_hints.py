"""Hints beside a method: they reach what the student learns from, of every method with a teacher, and checkpoints."""

from dataclasses import replace

import pytest
import torch

from dalib.adaptation.adamatch import AdaMatch
from dalib.adaptation.fixmatch import FixMatch
from dalib.adaptation.hints import TrustedHints, WithHints, hold_back
from dalib.adaptation.masked_consistency import MaskedConsistency
from dalib.adaptation.mcc import Mcc
from dalib.adaptation.mean_teacher import MeanTeacher
from dalib.adaptation.self_ensemble import SelfEnsemble
from dalib.core.types import Batch
from dalib.models.classifier import ImageClassifier

CLASSES = 3
METHODS = {
    "self-ensemble": lambda student: SelfEnsemble(student, CLASSES, threshold=0.0),
    "mean-teacher": lambda student: MeanTeacher(student, alpha=0.5),
    "fixmatch": lambda student: FixMatch(student, threshold=0.0),
    "adamatch": lambda student: AdaMatch(student, CLASSES, steps=1, threshold=0.0),
}


class Flat(torch.nn.Module):
    """Features that are the images, as a backbone."""

    out_features = 6

    def forward(self, images):
        return images


def made(name, hints):
    torch.manual_seed(0)
    return WithHints(METHODS[name](ImageClassifier(Flat(), CLASSES, bottleneck_dim=16)), hints)


def hints_of(count=60):
    truth = torch.arange(count) % CLASSES
    right = torch.nn.functional.one_hot(truth, CLASSES).float()
    return TrustedHints(right[:, None], 0.8 * right + 0.2 / CLASSES)


def batch_of(hints):
    generator = torch.Generator().manual_seed(0)
    source, first, second = torch.randn(3, 9, 6, generator=generator)
    return Batch(source, torch.arange(9) % CLASSES, (first, second), hints=hints)


def agreement_after_training(name, hints, given):
    """Returns how surely the student says of each image what its hint says, after a few steps."""
    method, batch = made(name, hints), batch_of(given)
    optimizer = torch.optim.Adam(method.student.parameters(), lr=0.02)
    for _ in range(25):
        optimizer.zero_grad()
        method.loss(batch, 1000).total.backward()
        optimizer.step()
        method.after_step(0)
    said = method.student.eval()(batch.target[0]).softmax(dim=1)
    return said[torch.arange(9), torch.arange(9) % CLASSES].mean().item()


@pytest.mark.parametrize("name", METHODS)
def test_the_student_learns_what_trusted_hints_say(name):
    hints = hints_of()
    with_hints = agreement_after_training(name, hints, hints.hints[:9])
    assert with_hints > agreement_after_training(name, hints, None) + 0.1


@pytest.mark.parametrize("name", METHODS)
def test_without_hints_for_its_images_a_batch_is_as_it_was(name):
    hints = hints_of()
    torch.manual_seed(1)
    with_rows_of_zeros = made(name, hints).loss(batch_of(torch.zeros(9, 1, CLASSES)), 5)
    torch.manual_seed(1)
    with_none = made(name, hints).loss(batch_of(None), 5)
    for part, value in with_none.parts.items():
        assert with_rows_of_zeros.parts[part].item() == pytest.approx(value.item(), rel=1e-4)


def test_the_part_of_hints_is_the_cross_entropy_to_refined_predictions_and_absent_without_trust():
    hints = hints_of()
    method, batch = made("fixmatch", hints), batch_of(hints.hints[:9])
    method.student.eval()  # one prediction for one image
    part = method.loss(batch, 0).parts["hints"]
    logits = method.student(batch.target[0])
    wanted = hints.refined(method.student(batch.target[1]), batch.hints).softmax(dim=1)
    trust = float(hints.annotator.worth[0])
    by_hand = -(wanted * logits.log_softmax(dim=1)).sum(dim=1).mean() * 0.6 * trust
    assert part.item() == pytest.approx(by_hand.item(), rel=1e-3)
    hints.load_state_dict(hints.revise(torch.full((60, CLASSES), 1 / CLASSES)))
    hints.load_state_dict({**hints.state_dict(), "trust": torch.zeros(CLASSES)})
    assert "hints" not in method.loss(batch, 0).parts
    same = torch.randn(9, CLASSES)
    assert torch.equal(hints.refined(same, batch.hints), same)
    with pytest.raises(ValueError, match="weight"):
        WithHints(method.method, hints, weight=-1)


def test_a_method_without_a_teacher_is_refused():
    with pytest.raises(ValueError, match="Mcc has no teacher"):
        WithHints(Mcc(ImageClassifier(Flat(), CLASSES)), hints_of())


def test_hints_reach_the_method_inside_masked_consistency():
    inside = METHODS["fixmatch"](ImageClassifier(Flat(), CLASSES))
    refined = WithHints(MaskedConsistency(inside), hints_of())
    assert inside.refining is refined
    with pytest.raises(ValueError, match="no teacher"):
        WithHints(MaskedConsistency(Mcc(ImageClassifier(Flat(), CLASSES))), hints_of())


def test_the_estimate_is_part_of_the_state_and_is_restored():
    method, other = made("self-ensemble", hints_of()), made("self-ensemble", hints_of(30))
    noise = torch.full((60, CLASSES), 1 / CLASSES)
    method.hints.load_state_dict(method.hints.revise(noise))
    assert method.hints.annotator.gain == 0
    other.load_state_dict(method.state_dict())
    assert other.hints.annotator.gain == 0
    assert torch.equal(other.hints.annotator.confusion, method.hints.annotator.confusion)


def test_only_the_evaluated_rows_are_revised_by():
    right = torch.eye(CLASSES).repeat(20, 1)
    hints = TrustedHints(right[:, None], right, rows=torch.arange(0, 60, 2))
    assert hints.revise(right[::2])["gain"] > 0


def test_half_precision_and_a_refusal_of_other_shapes():
    hints = hints_of()
    refined = hints.refined(torch.zeros(9, CLASSES, dtype=torch.bfloat16), hints.hints[:9])
    assert refined.dtype == torch.float32
    assert refined.isfinite().all()
    with pytest.raises(ValueError, match="hints, beliefs"):
        TrustedHints(torch.zeros(4, 3), torch.zeros(4, 3))


def test_parts_of_a_batch_keep_the_hints_of_their_images():
    hints = torch.arange(9.0)[:, None, None].expand(9, 1, CLASSES)
    parts = replace(batch_of(None), hints=hints).split(2)
    assert [part.hints[:, 0, 0].tolist() for part in parts] == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]


def test_a_tenth_of_the_hints_is_held_back_by_the_seed_and_whole_groups_alone():
    hints = torch.eye(CLASSES).repeat(100, 1)
    hints[:50] = 0
    held_back = hold_back(hints, seed=0)
    assert int(held_back.sum()) == 25
    assert not held_back[:50].any()
    assert torch.equal(held_back, hold_back(hints, seed=0))
    assert not torch.equal(held_back, hold_back(hints, seed=1))
    groups = torch.arange(300) // 6
    of_groups = hold_back(hints, 0, groups)
    assert 0 < len(groups[of_groups].unique()) < 6
    assert not torch.isin(groups[(hints.sum(dim=1) > 0) & ~of_groups], groups[of_groups]).any()
    assert hold_back(hints[:140], seed=0) is None  # 90 hints


def test_nothing_learns_from_hints_that_are_held_back():
    right = torch.eye(CLASSES).repeat(20, 1)
    held_back = torch.arange(60) < 30
    hints = TrustedHints(torch.stack([right, right], dim=1), right, held_back=held_back)
    assert not hints.hints[:30, 0].any()
    assert torch.equal(hints.hints[30:, 0], right[30:])
    assert torch.equal(hints.hints[:, 1], right)
    assert torch.equal(hints.given, right)
    assert torch.equal(hints.annotator.confusion, TrustedHints(hints.hints, right).annotator.confusion)
