"""The split that keeps groups whole."""

import pytest
import torch

from dalib.data.split import split_by_groups


def labelled_groups(seed=0, groups=120, classes=4):
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 12, (groups,), generator=generator)
    labels = torch.randint(classes, (groups,), generator=generator)
    return labels.repeat_interleave(sizes), torch.arange(groups).repeat_interleave(sizes)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_no_group_is_on_both_sides_and_the_share_is_nearly_that(share):
    labels, groups = labelled_groups()
    train, held = split_by_groups(labels, groups, share, seed=1)
    assert not set(groups[train].tolist()) & set(groups[held].tolist())
    assert torch.cat([train, held]).sort().values.tolist() == list(range(len(labels)))
    assert len(held) / len(labels) == pytest.approx(share, abs=0.03)
    for each in range(4):
        assert float((labels[held] == each).float().mean()) == pytest.approx(
            float((labels == each).float().mean()), abs=0.12
        )


def test_equal_seeds_give_equal_splits():
    labels, groups = labelled_groups()
    first, same, other = (split_by_groups(labels, groups, 0.1, seed)[1].tolist() for seed in (0, 0, 1))
    assert first == same != other


def test_a_class_of_one_group_stays_to_be_learnt():
    labels = torch.tensor([0] * 40 + [1] * 10 + [2] * 40)
    groups = torch.cat([torch.arange(10).repeat_interleave(4), torch.full((10,), 99), torch.arange(20, 30).repeat(4)])
    for seed in range(10):
        train, _ = split_by_groups(labels, groups, 0.3, seed)
        assert set(labels[train].tolist()) == {0, 1, 2}


def test_one_group_cannot_be_split():
    train, held = split_by_groups(torch.tensor([0, 1, 0]), torch.tensor([5, 5, 5]), 0.1, seed=0)
    assert train.tolist() == [0, 1, 2]
    assert not len(held)


def test_classes_of_few_images_can_be_split():
    train, held = split_by_groups(torch.arange(6).repeat(2), torch.arange(12), 0.2, seed=0)
    assert len(held) > 0
    assert set(train.tolist()).isdisjoint(held.tolist())
