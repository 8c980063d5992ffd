import math

import pytest
import torch
from sklearn.metrics import cohen_kappa_score
from two_domains import two_domains

from dalib.judge.signs import MAX_NAME_MARGIN, head_agreement, head_classes, kappa, names_kept, neighbour_agreement
from dalib.judge.structure import Representation, structure_of


@pytest.fixture(scope="module")
def world():
    representation, labels = two_domains()
    return structure_of(representation, 4), labels


def noisy(labels, share, seed=0):
    generator = torch.Generator().manual_seed(seed)
    changed = torch.rand(len(labels), generator=generator) < share
    return torch.where(changed, torch.randint(0, 4, labels.shape, generator=generator), labels)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn(seed):
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randint(0, 5, (2, 40), generator=generator)
    assert kappa(first, second, 5) == pytest.approx(cohen_kappa_score(first.numpy(), second.numpy()))


def test_kappa_of_a_constant_labelling_with_itself_is_nothing():
    assert kappa(torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64), 3) == 0.0


def test_the_right_classes_are_smooth_and_noise_is_not(world):
    structure, labels = world
    right, some, much = (neighbour_agreement(noisy(labels, share), structure) for share in (0.0, 0.2, 0.9))
    assert right == pytest.approx(1.0)
    assert right > some > much


def test_a_collapsed_model_is_not_smooth(world):
    structure, labels = world
    assert neighbour_agreement(torch.zeros_like(labels), structure) == 0.0


def biased(labels, bias=2.0, noise=3.0):
    """Probabilities of a model that is wrong on most images, leans to class 0, and knows a little."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.eye(4)[labels] + noise * torch.randn(len(labels), 4, generator=generator)
    logits[:, 0] += bias
    return logits.softmax(dim=1)


def test_names_are_known_to_a_model_that_is_wrong_on_most_images():
    labels = torch.arange(4).repeat_interleave(100)
    reference = biased(labels)
    assert (reference.argmax(dim=1) == labels).double().mean() < 0.5
    kept, exchanged = names_kept(labels, reference), names_kept(torch.tensor([0, 2, 1, 3])[labels], reference)
    assert kept > 0.2
    assert exchanged < kept - 0.1
    assert names_kept((labels + 1) % 4, reference) < 0


def test_a_reference_gains_nothing_by_agreeing_with_itself_and_one_class_has_no_name():
    reference = torch.eye(4).repeat(30, 1)
    assert names_kept(reference.argmax(dim=1), reference) == pytest.approx(MAX_NAME_MARGIN)
    assert names_kept(torch.zeros(120, dtype=torch.int64), reference) == 0.0


def test_heads_name_the_target_in_spite_of_the_shift_and_again_with_the_same_seed(world):
    structure, labels = world
    heads = head_classes(structure)
    assert heads.shape == (5, 120)
    assert head_agreement(labels, heads) > 0.95
    assert head_agreement((labels + 1) % 4, heads) < 0.05
    assert torch.equal(heads, head_classes(structure))
    assert not torch.equal(heads, head_classes(structure, seed=1)) or head_agreement(labels, heads) == 1.0


def test_without_source_images_there_are_no_heads():
    representation, labels = two_domains()
    alone = Representation(representation.target, representation.source[:0], representation.labels[:0])
    heads = head_classes(structure_of(alone, 4))
    assert heads.shape == (0, 120)
    assert math.isnan(head_agreement(labels, heads))


def test_heads_of_few_images_a_class_say_nothing_of_it(recwarn):
    labels = torch.arange(40)
    features = torch.nn.functional.one_hot(labels, 40).float()
    structure = structure_of(Representation(features, features, labels), 40)
    assert head_classes(structure).shape == (5, 40)
    assert [str(each.message) for each in recwarn.list] == []
